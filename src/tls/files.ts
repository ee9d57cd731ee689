import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import type { TlsMaterial } from "./tls.ts";

/** Where the parts are. */
export type TlsPaths = { readonly [part in keyof TlsMaterial]: string | undefined } & { readonly cert: string };

export interface TlsFilesOptions {
  readonly paths: TlsPaths;
  /** How often it is looked whether a file has changed, in milliseconds. Default: 10,000. */
  readonly pollMs?: number;
  readonly log: TlsFilesLog;
}

/** The part of a pino logger that is used. */
interface TlsFilesLog {
  info(obj: object, msg: string): void;
  error(obj: object, msg: string): void;
}

/** Certificates and key, as the files have them. */
export interface TlsFiles {
  current(): TlsMaterial;
  /** When the certificate in force ends, in milliseconds since the Unix epoch. */
  expiresAtMs(): number;
  /** Called with what has come into force; one callback. */
  onChange(changed: (material: TlsMaterial) => void): void;
  /** Looks at the files now; with some that cannot be used, the old ones stay, and the log says why. */
  reload(): Promise<void>;
  /** Looks at them no more. */
  close(): void;
}

const defaultPollMs = 10_000;

/**
 * Reads the files, and again whenever one of them changes. By its times and not by events, which do not come where a
 * directory is mounted, or a link is changed, as in Kubernetes.
 *
 * @throws for files that cannot be read, or used together.
 */
export async function openTlsFiles({ paths, log, pollMs = defaultPollMs }: TlsFilesOptions): Promise<TlsFiles> {
  let seen = await fingerprint(paths);
  let current = await readMaterial(paths);
  let changed = (_: TlsMaterial): void => {};
  let turn = Promise.resolve();
  tell(current);

  function tell({ cert }: TlsMaterial): void {
    const { subjectAltName, validTo, fingerprint256 } = new X509Certificate(cert);
    log.info({ subjectAltName, validTo, fingerprint256 }, "the certificate in force");
  }

  async function look(isAsked: boolean): Promise<void> {
    const now = await fingerprint(paths);
    if (!isAsked && now === seen) return;
    seen = now;
    try {
      const next = await readMaterial(paths);
      if (isSame(next, current)) return;
      current = next;
      tell(next);
      changed(next);
    } catch (err) {
      // Half of a change is there, perhaps: the other half is another one.
      log.error(
        { reason: err instanceof Error ? err.message : "unknown" },
        "cannot use the new certificate: the old one stays",
      );
    }
  }

  function reload(isAsked: boolean): Promise<void> {
    turn = turn.then(() => look(isAsked));
    return turn;
  }

  const timer = setInterval(() => void reload(false), pollMs).unref();
  return {
    current: () => current,
    expiresAtMs: () => new X509Certificate(current.cert).validToDate.getTime(),
    onChange(callback) {
      changed = callback;
    },
    reload: () => reload(true),
    close: () => clearInterval(timer),
  };
}

/** What changes when a file does. */
async function fingerprint(paths: TlsPaths): Promise<string> {
  const files = Object.values(paths).filter((path) => path !== undefined);
  const stats = files.map((path) => stat(path).catch(() => undefined));
  return (await Promise.all(stats)).map((file) => `${file?.ino} ${file?.size} ${file?.mtimeMs}`).join("\n");
}

async function readMaterial({ cert, key, clientCa, clientCrl }: TlsPaths): Promise<TlsMaterial> {
  const read = async (path: string | undefined) => (path === undefined ? undefined : await readPem(path));
  const material = {
    cert: await readPem(cert),
    key: await readPem(key ?? cert),
    clientCa: await read(clientCa),
    clientCrl: await read(clientCrl),
  };
  check(material, { cert, key, clientCa, clientCrl });
  return material;
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? error.code : "unknown";
    throw new Error(`${path} cannot be read (${reason})`);
  }
}

/** @throws what is wrong, without any of the content. */
function check({ cert, key, clientCa, clientCrl }: TlsMaterial, paths: TlsPaths): void {
  const certificate = attempt(() => new X509Certificate(cert), `${paths.cert} has no certificate in PEM`);
  const privateKey = attempt(() => createPrivateKey(key), `${paths.key} has no private key in PEM that can be read`);
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new Error(`the key in ${paths.key} is not that of the certificate in ${paths.cert}`);
  }
  attempt(() => createSecureContext({ cert, key }), `${paths.cert} and ${paths.key} cannot be used together`);
  if (clientCa !== undefined) {
    attempt(() => new X509Certificate(clientCa), `${paths.clientCa} has no certificate in PEM`);
    attempt(() => createSecureContext({ ca: clientCa }), `${paths.clientCa} cannot be used`);
  }
  if (clientCrl !== undefined) {
    attempt(() => createSecureContext({ crl: clientCrl }), `${paths.clientCrl} has no revocation list in PEM`);
  }
}

function attempt<T>(work: () => T, otherwise: string): T {
  try {
    return work();
  } catch {
    throw new Error(otherwise);
  }
}

function isSame(one: TlsMaterial, other: TlsMaterial): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
