import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };

const root = new URL("../../", import.meta.url);

/** What a bundler for browsers takes for the modules that are others in Node. */
const byCondition: Record<string, string> = { "#client/receiving": packageJson.imports["#client/receiving"].default };

/** Every module that `entry` reaches by relative imports and those by condition, with what it imports from packages. */
async function walk(entry: URL) {
  const files = new Map<string, string>();
  const packages = new Set<string>();
  const pending = [entry];
  for (let url = pending.pop(); url !== undefined; url = pending.pop()) {
    if (files.has(url.href)) continue;
    const source = await readFile(url, "utf8");
    files.set(url.href, source);
    for (const [, specifier = ""] of source.matchAll(/\b(?:from|import)\s*\(?\s*"([^"]+)"/g)) {
      const place = byCondition[specifier];
      if (place !== undefined) pending.push(new URL(place, root));
      else if (specifier.startsWith(".")) pending.push(new URL(specifier, url));
      else packages.add(specifier);
    }
  }
  return { files, packages };
}

test("the client imports nothing that a browser does not have", async () => {
  const client = new URL("../../src/client/", import.meta.url);
  const { files, packages } = await walk(new URL("index.ts", client));
  expect([...packages].sort()).toEqual([
    "@bufbuild/protobuf",
    "@bufbuild/protobuf/codegenv2",
    "@bufbuild/protobuf/wkt",
    "@connectrpc/connect",
    "@connectrpc/connect-web",
  ]);
  const gen = new URL("../../src/gen/", import.meta.url).href;
  for (const [href, source] of files) {
    expect(href.startsWith(client.href) || href.startsWith(gen), href).toBe(true);
    const code = source.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    if (href.startsWith(client.href)) expect(code, href).not.toMatch(/\b(Buffer|process|require|__dirname)\b/);
  }
  expect(files.size).toBeGreaterThan(15);
});
