import type { HttpRequest, HttpResponse } from "./listener.ts";

/** Writes the answer to a GET of one path. */
export type Page = (response: HttpResponse) => Promise<void> | void;

/** Answers a request if it asks for one of the pages. */
export type Pages = (request: HttpRequest, response: HttpResponse) => boolean;

/** Creates the pages at fixed paths. */
export function createPages(pages: Readonly<Record<string, Page>>): Pages {
  const byPath = new Map(Object.entries(pages));
  return (request, response) => {
    const page = request.method === "GET" ? byPath.get(request.url ?? "") : undefined;
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
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify(body));
}

/** Answers a path that leads nowhere. */
export function notFound(response: HttpResponse): void {
  response.statusCode = 404;
  response.setHeader("Content-Type", "text/plain");
  response.end("404 page not found");
}
