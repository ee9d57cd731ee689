import { constants } from "node:http2";
import type { Exchange, Fields } from "../http2/exchange.ts";

/** What a page shows. */
export interface PageContent {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** Answers a GET or HEAD of one path. */
export type Page = () => Promise<PageContent> | PageContent;

/** Answers a request for this path if it asks for one of the pages. */
export type Pages = (exchange: Exchange, path: string) => boolean;

/**
 * Creates the pages at fixed paths.
 *
 * @param fields the header fields that all of them have. Default: none.
 */
export function createPages(pages: Readonly<Record<string, Page>>, fields: Fields = []): Pages {
  const byPath = new Map(Object.entries(pages));
  return (exchange, path) => {
    const method = exchange.headers[":method"];
    const page = method === "GET" || method === "HEAD" ? byPath.get(path) : undefined;
    if (page === undefined) return false;
    show(exchange, page, fields).catch(() => exchange.reset(constants.NGHTTP2_INTERNAL_ERROR));
    return true;
  };
}

async function show(exchange: Exchange, page: Page, fields: Fields): Promise<void> {
  write(exchange, await page(), fields);
}

/** `/healthz`: the process answers. */
export const healthz: Page = () => toJsonPage(200, { status: "ok" });

/** A page of JSON. */
export function toJsonPage(status: number, content: object): PageContent {
  return { status, contentType: "application/json", body: JSON.stringify(content) };
}

/** Answers a path that leads nowhere. */
export function notFound(exchange: Exchange, fields: Fields = []): void {
  write(exchange, { status: 404, contentType: "text/plain", body: "404 page not found" }, fields);
}

function write(exchange: Exchange, { status, contentType, body }: PageContent, fields: Fields): void {
  const bytes = Buffer.from(body);
  exchange.answer(
    [":status", String(status), ...fields, "content-type", contentType, "content-length", String(bytes.length)],
    bytes,
  );
}
