import { X509Certificate } from "node:crypto";
import { readFile, statfs } from "node:fs/promises";
import type { Config } from "../config.ts";
import { type Finding, judgeRoom, ok, problem, warning } from "./finding.ts";

const loopback = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/;

/** A secret with fewer different characters was not drawn at random. */
const minDifferentCharacters = 10;

const dayMs = 86_400_000;

/** How long before its end a certificate is to be renewed, in days. */
const renewDays = 14;

/** What is unsafe about the settings themselves. */
export function inspectSettings(config: Config): Finding[] {
  const { host, adminHost, adminPort, tlsCertFile, tokenSecret, tokenSecretPrevious, reflection, natsUrl } = config;
  const isPublic = !loopback.test(host);
  const findings: Finding[] = [];
  if (isPublic && tlsCertFile === undefined) {
    findings.push(
      warning(
        "tls",
        `the port listens at ${host} without TLS`,
        "Set MUSTREACH_TLS_CERT_FILE and MUSTREACH_TLS_KEY_FILE, or let nothing but a proxy with TLS reach it.",
      ),
    );
  }
  if (adminPort !== undefined && !loopback.test(adminHost)) {
    const todo = "Let nobody but operators and monitoring reach it, or set MUSTREACH_ADMIN_HOST=127.0.0.1.";
    findings.push(warning("operator's port", `it listens at ${adminHost}, with the console and without tokens`, todo));
  }
  if (isPublic && reflection) {
    const todo = "Set MUSTREACH_REFLECTION=false where the protos are nobody's business.";
    findings.push(warning("reflection", `the protos can be read at ${host} without a token`, todo));
  }
  for (const secret of [tokenSecret, tokenSecretPrevious]) {
    if (secret === undefined || new Set(secret).size >= minDifferentCharacters) continue;
    const todo = "Make one with `openssl rand -base64 32`, and change it as docs/operating.md says.";
    findings.push(problem("token secret", "it was not drawn at random: whoever guesses it is an admin", todo));
  }
  if (tokenSecretPrevious !== undefined) {
    const todo = "Remove MUSTREACH_TOKEN_SECRET_PREVIOUS when everybody has a token by the other.";
    findings.push(warning("token secret", "two are valid", todo));
  }
  const open = natsUrl?.filter((url) => url.startsWith("nats://") && !loopback.test(hostOf(url)));
  if (open !== undefined && open.length > 0) {
    const todo = "Use tls:// where the network between is not trusted.";
    findings.push(warning("broker's connection", "it is not encrypted", todo));
  }
  return findings.length > 0 ? findings : [ok("settings", "none is unsafe")];
}

function hostOf(url: string): string {
  return new URL(url).hostname.replace(/^\[|\]$/g, "");
}

/** When the certificate of the port ends. Nothing where there is none. */
export async function inspectCertificate({ tlsCertFile: path }: Pick<Config, "tlsCertFile">): Promise<Finding[]> {
  if (path === undefined) return [];
  const check = "certificate";
  let endsMs: number;
  try {
    endsMs = new X509Certificate(await readFile(path)).validToDate.getTime();
  } catch {
    return [problem(check, `${path} cannot be read as a certificate`, "Mend MUSTREACH_TLS_CERT_FILE.")];
  }
  const days = Math.floor((endsMs - Date.now()) / dayMs);
  const todo = "Renew it: a running service takes a new file by itself.";
  if (days < 0) return [problem(check, "it has ended", todo)];
  return [days < renewDays ? warning(check, `it ends in ${days} days`, todo) : ok(check, `it ends in ${days} days`)];
}

/** The disk under a directory of this machine. Nothing where the directory is not here. */
export async function inspectDisk(dir: string, look: typeof statfs = statfs): Promise<Finding[]> {
  const disk = await look(dir).catch(() => undefined);
  if (disk === undefined) return [];
  const todo = "Make room: a full disk refuses sends (90101). Or set a smaller MUSTREACH_MAX_STORE_BYTES.";
  return [judgeRoom("disk", (disk.blocks - disk.bavail) * disk.bsize, disk.blocks * disk.bsize, todo)];
}
