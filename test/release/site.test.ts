import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { buildSite } from "../../release/site/build-site.ts";
import { toLink, toPage } from "../../release/site/paths.ts";
import { render } from "../../release/site/render.ts";

const root = resolve(import.meta.dirname, "../..");
const out = mkdtempSync(join(tmpdir(), "mustreach-site-"));
const pages = buildSite({ root, out });
const read = (path: string) => readFileSync(join(out, path), "utf8");
const idsOf = (html: string) => new Set([...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id));

afterAll(() => rmSync(out, { recursive: true }));

test("the site has the documents, what they lead to, and a page for their folder", () => {
  expect(pages).toEqual(
    expect.arrayContaining(["index.html", "project/readme.html", "quick-start.html", "decisions/index.html"]),
  );
  expect(new Set(pages).size).toBe(pages.length);
});

describe.each(pages)("%s", (page) => {
  const html = read(page);

  test("leads only to what is there", () => {
    const targets = [...html.matchAll(/ (?:href|src)="([^"]+)"/g)].map(([, target = ""]) => target);
    const broken = targets.filter((target) => {
      if (/^[a-z]+:/.test(target)) return false;
      const [path = "", anchor] = target.replaceAll("&amp;", "&").split("#");
      const file = path === "" ? join(out, page) : join(out, dirname(page), path);
      if (!existsSync(file)) return true;
      return anchor !== undefined && file.endsWith(".html") && !idsOf(readFileSync(file, "utf8")).has(anchor);
    });
    expect(broken).toEqual([]);
  });

  test("has a title, and nothing that its policy forbids", () => {
    expect(html).toMatch(/<title>\S.* · Mustreach<\/title>/);
    expect(html).toContain("default-src 'none'");
    expect(html).not.toMatch(/<script|<style|<iframe| style="| on\w+="|src="https?:/);
  });
});

const documents = ["README.md", "docs/README.md", "docs/tls.md", "docs/decisions/own-transcoder.md"];
const sourceUrl = "https://git.example/mustreach/blob/main/";

test.each([
  ["docs/tls.md", "../README.md#send", "project/readme.html#send"],
  ["docs/decisions/own-transcoder.md", "../tls.md", "../tls.html"],
  ["README.md", "docs/decisions", "../decisions/index.html"],
  ["README.md", "docs/performance/push.svg", "../performance/push.svg"],
  ["docs/tls.md", "#here", "#here"],
  ["docs/tls.md", "https://nats.io", "https://nats.io"],
  ["docs/tls.md", "../src/main.ts", undefined],
])("in %s, %s is %s", (document, target, link) => {
  expect(toLink(target, { document, documents })).toBe(link);
});

test("source is shown where the site is told", () => {
  expect(toLink("../src/main.ts", { document: "docs/tls.md", documents, sourceUrl })).toBe(`${sourceUrl}src/main.ts`);
});

test("the index is docs/README.md", () => {
  expect(toPage("docs/README.md")).toBe("index.html");
});

test("HTML in a document is text", () => {
  const { html } = render("# A `b`\n\n<script>alert(1)</script>\n\n`<i>`\n", (target) => target);
  expect(html).not.toMatch(/<script|<i>/);
  expect(html).toContain('<h1 id="a-b">');
});
