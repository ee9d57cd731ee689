import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createVolume, DiskError } from "../../../src/verify/disk/volume.ts";
import { createRandom, type Random } from "../../../src/verify/random.ts";

const root = 1;
const file = 0o100644;
const directory = 0o040755;

function openVolume() {
  const dir = mkdtempSync(join(tmpdir(), "mustreach-volume-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const volume = createVolume(dir);
  return {
    dir,
    volume,
    create(name: string, content = "", at = root) {
      const { ino } = volume.create(at, name, file);
      if (content !== "") volume.write(ino, 0, Buffer.from(content));
      return ino;
    },
    content: (ino: number) => volume.read(ino, 0, 1_000).toString(),
    names: (at = root) => volume.list(at).map(([name]) => name),
  };
}

/** A power cut that keeps of what was not synced as little as it can, or as much. */
const losing: Random = Object.assign(() => 0, { between: (min: number) => min, chance: () => true, pick: never });
const keeping: Random = Object.assign(() => 0, {
  between: (_: number, max: number) => max,
  chance: () => false,
  pick: never,
});

function never(): never {
  throw new Error("nothing is picked");
}

test("a power cut takes back what was written and not synced: added, overwritten and cut off", () => {
  const { volume, create, content } = openVolume();
  const ino = create("a", "one two");
  volume.sync(ino);
  volume.write(ino, 4, Buffer.from("TWO three"));
  volume.truncate(ino, 2);
  volume.write(ino, 6, Buffer.from("!"));
  expect(content(ino)).toBe("on\0\0\0\0!");
  expect(volume.cut(losing)).toBe(3);
  expect(content(ino)).toBe("one two");
});

test("a power cut takes back the newer part of what was not synced, if it does not take back all", () => {
  const { volume, create, content } = openVolume();
  const ino = create("a", "-");
  volume.sync(ino);
  for (let i = 1; i < 9; i++) volume.write(ino, i, Buffer.from(String(i)));
  volume.cut(createRandom(1, "a cut"));
  expect("-12345678").toContain(content(ino));
  expect(content(ino)).toMatch(/^-/);
});

test("names are safe when anything was synced after them, in their order; what is in a file when that file was", () => {
  const { volume, create, content, names } = openVolume();
  const synced = create("synced", "safe");
  const written = create("written", "not safe");
  volume.sync(synced);
  create("later");
  expect(names()).toEqual(["synced", "written", "later"]);
  volume.cut(losing);
  expect(names()).toEqual(["synced", "written"]);
  expect([content(synced), content(written)]).toEqual(["safe", ""]);
});

test("a file that was replaced by another is back after a power cut, and gone once that was synced", () => {
  const { dir, volume, create, content, names } = openVolume();
  const old = create("state", "old");
  volume.sync(old);
  const replaceState = () => {
    const next = create("state.new", "new");
    volume.sync(next);
    volume.rename(root, "state.new", root, "state");
    return next;
  };
  replaceState();
  expect(content(volume.lookup(root, "state").ino)).toBe("new");
  volume.cut(losing);
  expect(content(volume.lookup(root, "state").ino)).toBe("old");
  volume.remove(root, "state.new");
  const next = replaceState();
  volume.sync(next);
  volume.cut(losing);
  expect(names()).toEqual(["state"]);
  expect(content(next)).toBe("new");
  expect(readdirSync(dir)).toEqual([String(next)]);
});

test("a power cut may leave everything", () => {
  const { volume, create, content, names } = openVolume();
  const ino = create("a", "all");
  expect(volume.cut(keeping)).toBe(0);
  expect(names()).toEqual(["a"]);
  expect(content(ino)).toBe("all");
  // And what it left is safe.
  volume.cut(losing);
  expect(content(ino)).toBe("all");
});

test("a full disk takes what there is room for, refuses more, and lets what is there be overwritten", () => {
  const { volume, create, content } = openVolume();
  const ino = create("a", "123");
  volume.free = 2;
  expect(volume.write(ino, 3, Buffer.from("4567"))).toBe(2);
  expect(content(ino)).toBe("12345");
  expect(() => volume.write(ino, 5, Buffer.from("6"))).toThrow(DiskError);
  expect(() => create("b")).toThrow(new DiskError(28));
  expect(volume.write(ino, 0, Buffer.from("abc"))).toBe(3);
  volume.truncate(ino, 1);
  expect(volume.write(ino, 1, Buffer.from("b"))).toBe(1);
  volume.free = Number.POSITIVE_INFINITY;
  create("b");
});

test("a directory with something in it is not removed, nor replaced, and what is open is read when its name is gone", () => {
  const { volume, create, content } = openVolume();
  const { ino: inner } = volume.create(root, "d", directory);
  const ino = create("a", "open", inner);
  expect(() => volume.remove(root, "d")).toThrow(new DiskError(39));
  volume.create(root, "e", directory);
  expect(() => volume.rename(root, "e", root, "d")).toThrow(new DiskError(39));
  volume.open(ino);
  volume.remove(inner, "a");
  volume.sync(ino);
  expect(content(ino)).toBe("open");
  volume.release(ino);
  volume.sync(root);
  expect(() => volume.attributes(ino)).toThrow(new DiskError(2));
  expect(() => volume.lookup(inner, "a")).toThrow(new DiskError(2));
});
