import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadTokenSecret } from "../../src/auth/secret.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mustreach-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test("a configured secret is used as it is, and nothing is written", async () => {
  expect(await loadTokenSecret({ tokenSecret: " a-token-secret-of-32-bytes-or-more ", dataDir: dir })).toBe(
    " a-token-secret-of-32-bytes-or-more ",
  );
  expect(await readdir(dir)).toEqual([]);
});

test("without one, 32 random bytes are created on first use, kept, and readable by the owner only", async () => {
  const dataDir = join(dir, "not", "there", "yet");
  const secret = await loadTokenSecret({ tokenSecret: undefined, dataDir });
  expect(secret).toMatch(/^[\w-]{43}$/);
  expect(await loadTokenSecret({ tokenSecret: undefined, dataDir })).toBe(secret);
  expect(await readdir(dataDir)).toEqual(["token-secret"]);
  expect((await stat(join(dataDir, "token-secret"))).mode & 0o777).toBe(0o600);
  expect(await loadTokenSecret({ tokenSecret: undefined, dataDir: join(dir, "other") })).not.toBe(secret);
});

test("a secret that someone put there is used without the line break around it", async () => {
  await writeFile(join(dir, "token-secret"), "a-token-secret-of-32-bytes-or-more\n", { mode: 0o600 });
  expect(await loadTokenSecret({ tokenSecret: undefined, dataDir: dir })).toBe("a-token-secret-of-32-bytes-or-more");
});

test("processes that start at the same time get the same secret", async () => {
  const program = `
    import { loadTokenSecret } from ${JSON.stringify(new URL("../../src/auth/secret.ts", import.meta.url).href)};
    process.stdout.write(await loadTokenSecret({ tokenSecret: undefined, dataDir: ${JSON.stringify(dir)} }));`;
  const load = () => promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program]);
  const secrets = await Promise.all([load(), load(), load(), load()]);
  const here = await Promise.all(
    Array.from({ length: 20 }, () => loadTokenSecret({ tokenSecret: undefined, dataDir: dir })),
  );
  const kept = (await readFile(join(dir, "token-secret"), "utf8")).trim();
  expect(new Set([...secrets.map(({ stdout }) => stdout), ...here])).toEqual(new Set([kept]));
  expect(await readdir(dir)).toEqual(["token-secret"]);
});

test("many at the same time in one process get the same secret, and leave no drafts", async () => {
  const secrets = await Promise.all(
    Array.from({ length: 50 }, () => loadTokenSecret({ tokenSecret: undefined, dataDir: dir })),
  );
  expect(new Set(secrets).size).toBe(1);
  expect(await readdir(dir)).toEqual(["token-secret"]);
});

test("a file that cannot be a secret is named, not replaced and not shown", async () => {
  await writeFile(join(dir, "token-secret"), "31-bytes-are-one-byte-too-short\n", { mode: 0o600 });
  const error = await loadTokenSecret({ tokenSecret: undefined, dataDir: dir }).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({
    name: "ConfigError",
    message: expect.stringContaining(`${join(dir, "token-secret")}: expected at least 32 bytes`),
  });
  expect(String(error)).not.toContain("31-bytes");
  expect(await readFile(join(dir, "token-secret"), "utf8")).toBe("31-bytes-are-one-byte-too-short\n");
});

test("a file that others can read is named with its mode, and not used", async () => {
  const path = join(dir, "token-secret");
  await writeFile(path, "a-token-secret-of-32-bytes-or-more\n");
  await chmod(path, 0o644);
  const error = await loadTokenSecret({ tokenSecret: undefined, dataDir: dir }).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ name: "ConfigError", message: expect.stringContaining(`${path} (mode 0644)`) });
  expect(String(error)).toContain(`chmod 600 '${path}'`);
  expect(String(error)).not.toContain("a-token-secret");
});

test("a file that cannot be read is an error, not a new secret", async () => {
  await mkdir(join(dir, "token-secret"), { mode: 0o700 });
  await expect(loadTokenSecret({ tokenSecret: undefined, dataDir: dir })).rejects.toThrow("EISDIR");
});
