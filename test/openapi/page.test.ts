import { expect, test } from "vitest";
import { toOpenApi } from "../../src/openapi/openapi.ts";
import { toPage } from "../../src/openapi/page.ts";
import { toHtml } from "../../src/openapi/page-text.ts";

const document = toOpenApi("http://127.0.0.1:10002");
const page = toPage(document);

test("the page has each path and each schema, and each of its links leads to something", () => {
  for (const path of Object.keys(document.paths)) expect(page).toContain(`<code>${path}</code>`);
  const ids = new Set([...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id));
  for (const name of Object.keys(document.components.schemas)) expect(ids).toContain(name);
  const links = [...page.matchAll(/href="#([^"]+)"/g)].map(([, id]) => id);
  expect(links.length).toBeGreaterThan(50);
  expect(links.filter((id) => !ids.has(id))).toEqual([]);
});

test("it shows how to call, and needs neither a script nor anybody else", () => {
  expect(page).toContain("curl -sS http://127.0.0.1:10002/msg/send_business_notification");
  expect(page).not.toMatch(/<script|\son\w+=|style=|(?:src|href)="(?:https?:)?\/\//);
});

test("what the document says is text, whatever is in it", () => {
  const malicious = toOpenApi('"><script>alert(1)</script>');
  expect(toPage(malicious)).not.toContain("<script");
  expect(toHtml("a `<b>` & c\n\n- one\n- `two`")).toBe(
    "<p>a <code>&lt;b&gt;</code> &amp; c</p>\n<ul><li>one</li><li><code>two</code></li></ul>",
  );
});
