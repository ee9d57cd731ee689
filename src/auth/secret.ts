import { randomBytes } from "node:crypto";
import { link, open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Config, ConfigError, minTokenSecretBytes } from "../config.ts";
import { openDataDir } from "../data-dir.ts";

/** The token secrets in force. */
export interface TokenSecrets {
  /** Signs and verifies. */
  readonly current: string;
  /** Verifies too, while the secret is changed. */
  readonly previous?: string | undefined;
}

/** The file in MUSTREACH_DATA_DIR that keeps a generated secret. */
const fileName = "token-secret";

/**
 * The secret that signs tokens: MUSTREACH_TOKEN_SECRET, else the one kept in the data directory, which is created on
 * first use (32 random bytes, readable by the owner only). Processes that start at the same time get the same one.
 *
 * @throws {ConfigError} when the kept secret is too short to be one, such as an empty file, or is open to other users of
 * the machine.
 */
export async function loadTokenSecret(config: Pick<Config, "tokenSecret" | "dataDir">): Promise<string> {
  if (config.tokenSecret !== undefined) return config.tokenSecret;
  const path = join(await openDataDir(config.dataDir), fileName);
  return requireLength((await readSecret(path)) ?? (await createSecret(path)), path);
}

/**
 * As {@link loadTokenSecret}, for a process beside the service: it creates nothing.
 *
 * @throws {ConfigError} when there is no secret on this machine.
 */
export async function readTokenSecret(config: Pick<Config, "tokenSecret" | "dataDir">): Promise<string> {
  if (config.tokenSecret !== undefined) return config.tokenSecret;
  const path = join(config.dataDir, fileName);
  const kept = await readSecret(path);
  if (kept === undefined) {
    throw new ConfigError(
      `There is no token secret in ${config.dataDir}. Start the service there first, or set MUSTREACH_DATA_DIR or MUSTREACH_TOKEN_SECRET to the service's.`,
    );
  }
  return requireLength(kept, path);
}

/**
 * {@link loadTokenSecret} with MUSTREACH_TOKEN_SECRET_PREVIOUS.
 *
 * @throws {ConfigError} as that.
 */
export async function loadTokenSecrets(
  config: Pick<Config, "tokenSecret" | "tokenSecretPrevious" | "dataDir">,
): Promise<TokenSecrets> {
  return { current: await loadTokenSecret(config), previous: config.tokenSecretPrevious };
}

/** The secrets whose signatures count, the one that signs first. */
export function verifyingSecrets({ current, previous }: TokenSecrets): readonly string[] {
  return previous === undefined ? [current] : [current, previous];
}

function requireLength(secret: string, path: string): string {
  if (Buffer.byteLength(secret) >= minTokenSecretBytes) return secret;
  throw new ConfigError(
    `${path}: expected at least ${minTokenSecretBytes} bytes. Remove the file to get a new secret: tokens made with the old one are then refused.`,
  );
}

/** The key of HS256: as OpenIM, the secret's UTF-8. */
export function toSigningKey(secret: string): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", Buffer.from(secret, "utf8"), { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
    "verify",
  ]);
}

async function readSecret(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

async function createSecret(path: string): Promise<string> {
  const draft = `${path}.${process.pid}.${randomBytes(6).toString("hex")}`;
  try {
    const file = await open(draft, "wx", 0o600);
    try {
      await file.writeFile(`${randomBytes(32).toString("base64url")}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    // A link appears complete or not at all and never replaces: one process wins, and nobody reads half a secret.
    await link(draft, path).catch((error: unknown) => {
      if (!isErrno(error, "EEXIST")) throw error;
    });
  } finally {
    await rm(draft, { force: true });
  }
  return (await readFile(path, "utf8")).trim();
}

function isErrno(error: unknown, code: string): boolean {
  return Error.isError(error) && "code" in error && error.code === code;
}
