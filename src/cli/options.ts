import { readFileSync } from "node:fs";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { InvalidArgumentError, Option } from "commander";
import { createTokenMinter } from "../auth/mint-token.ts";
import { readTokenSecret } from "../auth/secret.ts";
import { ConfigError, loadConfig } from "../config.ts";
import type { SenderRights } from "../senders/rights.ts";

/** `--url`: where the service answers. Default: what MUSTREACH_HOST and MUSTREACH_PORT say. */
export function urlOption(): Option {
  return new Option("--url <url>", "where the service answers (default: from MUSTREACH_HOST and MUSTREACH_PORT)");
}

/** `--token`: a token to use instead of one minted here. */
export function tokenOption(): Option {
  return new Option("--token <token>", "a token (default: MUSTREACH_TOKEN, or minted with the secret of this machine)");
}

/** The token of a command: `--token`, MUSTREACH_TOKEN, which no list of processes shows, or else one minted here. */
export async function findToken(given: string | undefined, userId: string, platformId: number): Promise<string> {
  return given ?? loadConfig(process.env).token ?? (await mintToken(userId, platformId));
}

/** Believes the certificates of MUSTREACH_CA_FILE, too, in all of this process. */
function trustCaFile(): void {
  const { caFile } = loadConfig(process.env);
  if (caFile === undefined) return;
  let pem: string;
  try {
    pem = readFileSync(caFile, "utf8");
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? error.code : "unknown";
    throw new ConfigError(`MUSTREACH_CA_FILE: ${caFile} cannot be read (${reason}).`);
  }
  setDefaultCACertificates([...getCACertificates("default"), pem]);
}

/** The address of the service. */
export function serviceUrl(url: string | undefined): string {
  trustCaFile();
  if (url !== undefined) return url;
  const { host, port, tlsCertFile } = loadConfig(process.env);
  return `${tlsCertFile === undefined ? "http" : "https"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/**
 * Mints a token with the secret that the service on this machine uses: MUSTREACH_TOKEN_SECRET, or the one kept in
 * MUSTREACH_DATA_DIR.
 */
export async function mintToken(userId: string, platformId: number, sender?: SenderRights): Promise<string> {
  const config = loadConfig(process.env);
  const mint = createTokenMinter({ secret: await readTokenSecret(config), ttlMs: config.tokenTtl });
  return (await mint({ userId, platformId, sender })).token;
}

/** The first admin of the settings. */
export function adminUserId(): string {
  return loadConfig(process.env).adminUserIds[0] ?? "imAdmin";
}

/** Parses a whole number above 0. */
export function positiveNumber(value: string): number {
  if (!/^[1-9]\d*$/.test(value)) throw new InvalidArgumentError("expected a whole number above 0");
  return Number(value);
}
