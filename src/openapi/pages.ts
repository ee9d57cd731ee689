import { readFile } from "node:fs/promises";
import { createPages, type PageContent, type Pages, toJsonPage } from "../http/pages.ts";
import type { Fields } from "../http2/exchange.ts";
import { toAsyncApi } from "./asyncapi.ts";
import { toOpenApi } from "./openapi.ts";
import { toPage } from "./page.ts";

/** What the page may do: show itself, with its one style sheet. */
const fields: Fields = [
  ...["content-security-policy", policy()],
  ...["x-content-type-options", "nosniff"],
  ...["referrer-policy", "no-referrer"],
  ...["cache-control", "no-cache"],
];

/**
 * The documents of the API: `/openapi.json`, `/asyncapi.json`, and `/docs` for people. They are made when they are first
 * asked for, and anew when the API has another address.
 *
 * @param apiUrl where the API answers; undefined before it does.
 */
export function createApiPages(apiUrl: () => string | undefined): Pages {
  const css = readFile(new URL("page.css", import.meta.url), "utf8");
  // Whoever asks for it is told that it is not there.
  css.catch(() => {});
  return createPages(
    {
      "/openapi.json": keep(apiUrl, (url) => toJsonPage(200, toOpenApi(url))),
      "/asyncapi.json": keep(apiUrl, (url) => toJsonPage(200, toAsyncApi(url))),
      "/docs": keep(apiUrl, (url) => toText("text/html", toPage(toOpenApi(url)))),
      "/docs.css": async () => toText("text/css", await css),
    },
    fields,
  );
}

function keep(apiUrl: () => string | undefined, make: (url: string | undefined) => PageContent): () => PageContent {
  let kept: { readonly url: string | undefined; readonly content: PageContent } | undefined;
  return () => {
    const url = apiUrl();
    if (kept === undefined || kept.url !== url) kept = { url, content: make(url) };
    return kept.content;
  };
}

function toText(type: string, body: string): PageContent {
  return { status: 200, contentType: `${type}; charset=utf-8`, body };
}

function policy(): string {
  return [
    "default-src 'none'",
    "style-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}
