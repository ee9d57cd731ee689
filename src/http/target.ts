import type { RequestHeaders } from "../http2/exchange.ts";

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
export function readTarget({ ":path": target = "", ":authority": authority }: RequestHeaders): Target {
  if (target.startsWith("/")) return toTarget(authority, target);
  const [, host, rest = target] = /^https?:\/\/([^/?#]*)(.*)$/i.exec(target) ?? [];
  return toTarget(host ?? authority, rest.startsWith("/") ? rest : `/${rest}`);
}

function toTarget(host: string | undefined, pathAndQuery: string): Target {
  const query = pathAndQuery.indexOf("?");
  // A request of HTTP/1.0 may name none.
  const isHostBad = host !== undefined && !isHost(host);
  return {
    path: query === -1 ? pathAndQuery : pathAndQuery.slice(0, query),
    url: `http://${isHostBad || host === undefined ? "localhost" : host}${pathAndQuery}`,
    isHostBad,
  };
}

/** Hosts that were named, and whether each can be one. A service has few names: at most 64 are remembered. */
const verdicts = new Map<string, boolean>();
const maxVerdicts = 64;
/** The longest host that is remembered, in characters. */
const maxRememberedLength = 262;

function isHost(host: string): boolean {
  const known = verdicts.get(host);
  if (known !== undefined) return known;
  const verdict = !/[/?#@\\]/.test(host) && URL.canParse(`http://${host}`);
  if (verdicts.size >= maxVerdicts) verdicts.clear();
  if (host.length <= maxRememberedLength) verdicts.set(host, verdict);
  return verdict;
}
