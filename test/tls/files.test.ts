import { rename, symlink } from "node:fs/promises";
import { expect, test, vi } from "vitest";
import { openTlsFiles } from "../../src/tls/files.ts";
import { createAuthority, local, useFiles } from "../helpers/certificates.ts";

const createLog = () => ({ info: vi.fn(), error: vi.fn() });

async function useOpened(pollMs?: number) {
  const ca = await createAuthority();
  const { cert, key } = await ca.issue(local);
  const files = await useFiles({ cert, key, ca: ca.cert });
  const paths = { cert: files.path("cert"), key: files.path("key"), clientCa: files.path("ca"), clientCrl: undefined };
  const log = createLog();
  const opened = await openTlsFiles({ paths, log, ...(pollMs !== undefined && { pollMs }) });
  const changed = vi.fn();
  opened.onChange(changed);
  return { ca, cert, key, ...files, paths, log, opened, changed, [Symbol.dispose]: () => opened.close() };
}

test("what is in the files is in force, and the log says until when, and nothing of the key", async () => {
  using it = await useOpened();
  expect(it.opened.current()).toMatchObject({ cert: it.cert, key: it.key, clientCa: it.ca.cert });
  expect(it.opened.expiresAtMs()).toBeGreaterThan(Date.now());
  expect(JSON.stringify(it.log.info.mock.calls)).toContain("DNS:localhost");
  expect(JSON.stringify(it.log.info.mock.calls)).not.toContain(it.key.split("\n")[1]);
});

test("a change is found by itself; half of one leaves the old one in force, and is told", async () => {
  using it = await useOpened(5);
  const next = await it.ca.issue(local);
  await it.write("cert", next.cert);
  await vi.waitFor(() => expect(it.log.error).toHaveBeenCalled());
  expect(it.opened.current().cert).toBe(it.cert);
  expect(it.log.error.mock.calls.at(-1)?.[0]).toEqual({
    reason: `the key in ${it.path("key")} is not that of the certificate in ${it.path("cert")}`,
  });
  await it.write("key", next.key);
  await vi.waitFor(() => expect(it.changed).toHaveBeenCalledOnce());
  expect(it.opened.current()).toMatchObject({ cert: next.cert, key: next.key });
});

test("what was changed is read when it is asked for, also where a link leads elsewhere, as in Kubernetes", async () => {
  using it = await useOpened();
  const next = await it.ca.issue(local);
  await it.write("new-cert", next.cert);
  await it.write("new-key", next.key);
  for (const name of ["cert", "key"]) {
    await symlink(it.path(`new-${name}`), it.path("link"));
    await rename(it.path("link"), it.path(name));
  }
  await it.opened.reload();
  expect(it.opened.current().cert).toBe(next.cert);
  expect(it.changed).toHaveBeenCalledOnce();
  await it.opened.reload();
  expect(it.changed).toHaveBeenCalledOnce();
});

test.each(["cert", "key", "ca"])("a broken %s is named, without its content", async (name) => {
  using it = await useOpened();
  await it.write(name, "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n");
  await it.opened.reload();
  const [told] = it.log.error.mock.calls;
  expect(JSON.stringify(told)).toContain(it.path(name));
  expect(JSON.stringify(told)).not.toContain("hunter2");
  expect(it.opened.current().key).toBe(it.key);
  await expect(openTlsFiles({ paths: it.paths, log: createLog() })).rejects.toThrow(it.path(name));
});

test("a file that is not there is named", async () => {
  using it = await useOpened();
  const paths = { ...it.paths, clientCrl: it.path("nothing") };
  await expect(openTlsFiles({ paths, log: createLog() })).rejects.toThrow(
    `${it.path("nothing")} cannot be read (ENOENT)`,
  );
});
