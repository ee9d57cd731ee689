import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { toApiOrigin } from "../../src/console/api-origin.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer();
const get = (path: string, init: RequestInit = {}) =>
  fetch(`${server.adminUrl}${path}`, { redirect: "manual", ...init });
const pageFolder = new URL("../../src/console/page/", import.meta.url);

test("the page and each of its files are served with their type and as they are", async () => {
  const contentTypes = { html: "text/html; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml" };
  const names = readdirSync(pageFolder);
  expect(names).toContain("main.js");
  for (const name of names) {
    const response = await get(`/console/${name}`);
    const expected = Object.entries(contentTypes).find(([extension]) => name.endsWith(extension));
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe(expected?.[1] ?? "text/javascript; charset=utf-8");
    expect(await response.text()).toBe(readFileSync(new URL(name, pageFolder), "utf8"));
  }
  const page = await get("/console");
  expect(await page.text()).toBe(readFileSync(new URL("index.html", pageFolder), "utf8"));
});

test("nothing on it runs but its own files, it calls nobody but the API, and it is in no frame", async () => {
  const { headers } = await get("/console");
  expect(headers.get("content-security-policy")).toBe(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
      `connect-src 'self' ${server.url}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'`,
  );
  expect(headers.get("x-content-type-options")).toBe("nosniff");
  expect(headers.get("referrer-policy")).toBe("no-referrer");
  expect(headers.get("access-control-allow-origin")).toBeNull();
  expect(await (await get("/console/service.json")).json()).toEqual({ api: server.url });
});

test("what the browser has is not sent again", async () => {
  const etag = (await get("/console/main.js")).headers.get("etag") ?? "";
  expect(etag).toMatch(/^"[\w-]{43}"$/);
  for (const [known, status] of [
    [etag, 304],
    [`"other", W/${etag}`, 304],
    ['"other"', 200],
  ] as const) {
    const response = await get("/console/main.js", { headers: { "if-none-match": known } });
    expect(response.status).toBe(status);
    expect(response.headers.get("etag")).toBe(etag);
    expect((await response.text()).length > 0).toBe(status === 200);
  }
});

test("nothing else is there, and nothing of it on the port of the API", async () => {
  for (const path of ["/console/none.js", "/console/../console.ts", "/console/..%2fconsole.ts", "/consoles"]) {
    expect((await get(path)).status).toBe(404);
  }
  expect((await get("/console", { method: "POST" })).status).toBe(404);
  const slash = await get("/console/");
  expect(new URL(slash.headers.get("location") ?? "", `${server.adminUrl}/console/`).pathname).toBe("/console");
  expect((await fetch(`${server.url}/console`)).status).toBe(404);
});

describe("the page calls the API", () => {
  test.each<[host: string, requestUrl: string, origin: string]>([
    ["127.0.0.1", "http://localhost:10003/console", "http://localhost:10002"],
    ["0.0.0.0", "http://ops.example:9/console", "http://ops.example:10002"],
    ["::", "http://127.0.0.1:10003/console", "http://127.0.0.1:10002"],
    ["10.1.2.3", "http://127.0.0.1:10003/console", "http://api:10002"],
  ])("that listens at %s from %s at %s", (host, requestUrl, origin) => {
    expect(toApiOrigin({ host, port: 10002, url: "http://api:10002" }, requestUrl)).toBe(origin);
  });
});
