import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** What a page loads of the client, in bytes of gzip. */
const maxGzipBytes = 12_000;

/** The client as a bundler for browsers makes it: what a page loads at once, and what it loads when it is needed. */
async function bundle() {
  const build = await rolldown({ input: `${root}src/client/index.ts`, platform: "browser", logLevel: "silent" });
  const { output } = await build.generate({ format: "esm", minify: true });
  await build.close();
  const chunks = output.filter((part) => part.type === "chunk");
  const byName = new Map(chunks.map((chunk) => [chunk.fileName, chunk]));
  const first = new Set(chunks.filter(({ isEntry }) => isEntry));
  for (const { imports } of first) {
    for (const name of imports) {
      const chunk = byName.get(name);
      if (chunk !== undefined) first.add(chunk);
    }
  }
  return { first: [...first], later: chunks.filter((chunk) => !first.has(chunk)) };
}

test("a page loads no more than 12 KB, and no package", async () => {
  const { first, later } = await bundle();
  const modules = first.flatMap(({ moduleIds }) => moduleIds);
  expect(modules.length).toBeGreaterThan(20);
  for (const id of modules) expect(id.replace(root, "")).toMatch(/^src\/client\/(?!node|connect)|^\0rolldown/);
  expect(gzipSync(first.map(({ code }) => code).join("\n")).length).toBeLessThan(maxGzipBytes);
  // Connect, for whoever gives a transport.
  expect(later.flatMap(({ moduleIds }) => moduleIds).join()).toContain("@connectrpc/connect");
});

test("the client uses nothing that a browser does not have", async () => {
  const { first, later } = await bundle();
  const chunks = [...first, ...later];
  expect(chunks.flatMap(({ imports }) => imports).filter((name) => !chunks.some((c) => c.fileName === name))).toEqual(
    [],
  );
  const own = chunks.flatMap(({ moduleIds }) => moduleIds).filter((id) => id.startsWith(`${root}src/client/`));
  for (const id of own) {
    const code = (await readFile(id, "utf8")).replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    expect(code, id).not.toContain('"node:');
    // The word may be in a text.
    expect(code.replace(/"[^"\n]*"|`[^`$]*\$/g, ""), id).not.toMatch(/\b(Buffer|process|require|__dirname)\b/);
  }
});
