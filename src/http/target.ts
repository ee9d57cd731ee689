import type { RequestHeaders } from "../http2/exchange.ts";
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

/** The header fields of a request, those of one name joined. */
export function toRequestHeaders({ headers }: HttpRequest): RequestHeaders {
  // The one that Node does not join, and no request of sense has.
  const { "set-cookie": cookies, ...joined } = headers;
  return cookies === undefined ? (headers as RequestHeaders) : (joined as RequestHeaders);
}
