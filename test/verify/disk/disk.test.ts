import { appendFile, mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Disk, mountDisk } from "../../../src/verify/disk/disk.ts";

let parent: string;
let disk: Disk | undefined;
beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), "mustreach-disk-"));
  disk = await mountDisk(parent).catch((error: Error) => {
    process.stdout.write(`no disk is mounted here: ${error.message}\n`);
    return undefined;
  });
});
afterAll(async () => {
  await disk?.remove();
  // What was on it is not there any more: it was unmounted.
  expect(await readdir(join(parent, "disk"))).toEqual([]);
  await rm(parent, { recursive: true });
});

const onDisk = (name: string, work: (disk: Disk) => Promise<void>) =>
  test(name, async ({ skip }) => {
    if (disk === undefined) return skip("it may not be mounted");
    await work(disk);
  });

onDisk("files are written, read, listed, moved and removed as on any disk", async ({ dir }) => {
  const content = "0123456789".repeat(300_000);
  await mkdir(join(dir, "a/b"), { recursive: true });
  await writeFile(join(dir, "a/b/large"), content);
  expect(await readFile(join(dir, "a/b/large"), "utf8")).toBe(content);
  const many = Array.from({ length: 500 }, (_, i) => `file-${i}`);
  for (const name of many) await writeFile(join(dir, "a", name), name);
  expect((await readdir(join(dir, "a"))).toSorted()).toEqual(["b", ...many].toSorted());
  await rename(join(dir, "a/b/large"), join(dir, "a/file-7"));
  expect((await stat(join(dir, "a/file-7"))).size).toBe(content.length);
  const handle = await open(join(dir, "a/file-7"), "r+");
  await handle.truncate(5);
  await handle.write("ab", 1);
  expect(await readFile(join(dir, "a/file-7"), "utf8")).toBe("0ab34");
  await handle.close();
  await rm(join(dir, "a"), { recursive: true });
  expect(await readdir(dir)).toEqual([]);
});

onDisk("after a power cut what was synced is there", async ({ dir, cut }) => {
  const path = join(dir, "kept");
  await writeFile(path, "safe", { flush: true });
  for (let i = 0; i < 20; i++) await appendFile(path, "?");
  const lost = await cut(7);
  expect(lost).toBeGreaterThan(0);
  expect(await readFile(path, "utf8")).toMatch(/^safe\?{0,20}$/);
});

onDisk("a full disk refuses, and takes again when there is room", async ({ dir, limit }) => {
  await limit(3);
  const path = join(dir, "some");
  await expect(writeFile(path, "12345")).rejects.toThrow("ENOSPC");
  expect(await readFile(path, "utf8")).toBe("123");
  await limit();
  await writeFile(path, "12345");
});

onDisk("a slow disk syncs late, and one that hangs does all late", async ({ dir, slow, hang }) => {
  await slow({ min: 30, max: 60, seed: 1 });
  const startedAt = performance.now();
  await writeFile(join(dir, "slow"), "synced", { flush: true });
  expect(performance.now() - startedAt).toBeGreaterThan(25);
  await slow({ min: 0, max: 0, seed: 1 });
  const order: string[] = [];
  const written = writeFile(join(dir, "late"), "1").then(() => order.push("written"));
  await Promise.all([hang(50).then(() => order.push("over")), written]);
  expect(await readFile(join(dir, "late"), "utf8")).toBe("1");
});
