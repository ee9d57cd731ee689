import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { table } from "../../../src/http2/engine/limits.ts";

test("docs/http2.md lists each limit", () => {
  const doc = readFileSync(resolve(import.meta.dirname, "../../../docs/http2.md"), "utf8");
  for (const [name, { value, unit, against }] of Object.entries(table)) {
    expect(doc).toContain(`| \`${name}\` | ${value.toLocaleString("en")} ${unit} | ${against} |`);
  }
});
