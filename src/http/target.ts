import type { HttpRequest } from "./listener.ts";

/** What a request asks for. */
export interface Target {
  /** The path, without the query. */
  readonly path: string;
  /** All of it, as a URL that can be parsed. */
  readonly url: string;
  /** Whether the host that the request names cannot be one (RFC 9112, 3.2). */
  readonly isHostBad: boolean;
}

/** Reads a request's target, also one in absolute form, as proxies send it; its host then counts, not the header's. */
export function readTarget(request: HttpRequest): Target {
  const { url = "", headers } = request;
  const authority = "authority" in request ? request.authority : headers.host;
  const [, host, rest = url] = /^https?:\/\/([^/?#]*)(.*)$/i.exec(url) ?? [];
  return toTarget(host ?? authority, rest.startsWith("/") ? rest : `/${rest}`);
}

function toTarget(host: string | undefined, pathAndQuery: string): Target {
  const query = pathAndQuery.indexOf("?");
  // A request of HTTP/1.0 may name none.
  const isHostBad = host !== undefined && (/[/?#@\\]/.test(host) || !URL.canParse(`http://${host}`));
  return {
    path: query === -1 ? pathAndQuery : pathAndQuery.slice(0, query),
    url: `http://${isHostBad || host === undefined ? "localhost" : host}${pathAndQuery}`,
    isHostBad,
  };
}

/** The headers of a request, as the web's type; repeated ones are joined. */
export function toHeaders(request: HttpRequest): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    // HTTP/2 pseudo headers are not headers.
    if (name.startsWith(":")) continue;
    for (const item of Array.isArray(value) ? value : [value ?? ""]) headers.append(name, item);
  }
  return headers;
}
