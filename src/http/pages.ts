import type { HttpRequest, HttpResponse } from "./listener.ts";
import type { Target } from "./target.ts";

/** Writes the answer to a GET or HEAD of one path. */
export type Page = (response: HttpResponse) => Promise<void> | void;

/** Answers a request if it asks for one of the pages. */
export type Pages = (request: HttpRequest, response: HttpResponse, target: Target) => boolean;

/** Creates the pages at fixed paths. */
export function createPages(pages: Readonly<Record<string, Page>>): Pages {
  const byPath = new Map(Object.entries(pages));
  return (request, response, { path }) => {
    // Node leaves the body out of an answer to HEAD.
    const page = request.method === "GET" || request.method === "HEAD" ? byPath.get(path) : undefined;
    if (page === undefined) return false;
    Promise.resolve(page(response)).catch(() => response.destroy());
    return true;
  };
}

/** `/healthz`: the process answers. */
export const healthz: Page = (response) => writeJson(response, 200, { status: "ok" });

/** Answers with JSON. */
export function writeJson(response: HttpResponse, status: number, body: object): void {
  response.statusCode = status;
  const text = Buffer.from(JSON.stringify(body));
  response.setHeader("Content-Type", "application/json");
  response.setHeader("Content-Length", text.length);
  response.end(text);
}

/** Answers a path that leads nowhere. */
export function notFound(response: HttpResponse): void {
  response.statusCode = 404;
  response.setHeader("Content-Type", "text/plain");
  response.end("404 page not found");
}
