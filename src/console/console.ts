import type { ListenerAddress } from "../http/listener.ts";
import type { Target } from "../http/target.ts";
import type { Exchange, Fields } from "../http2/exchange.ts";
import { toApiOrigin } from "./api-origin.ts";
import { type ConsoleFile, readConsoleFiles, toFile } from "./files.ts";

/** Answers a request for the console; false for a request for anything else. */
export type Console = (exchange: Exchange, target: Target) => boolean;

export interface ConsoleOptions {
  /** Where the API answers; undefined before it does. */
  readonly apiAddress: () => ListenerAddress | undefined;
}

const root = "/console";
/** What tells the page where the API is. */
const servicePath = `${root}/service.json`;

/** Opens the console at `/console`: a page of static files, which calls the API as any other web page does. */
export async function openConsole({ apiAddress }: ConsoleOptions): Promise<Console> {
  const files = await readConsoleFiles();
  return (exchange, { path, url }) => {
    const method = exchange.headers[":method"];
    if ((method !== "GET" && method !== "HEAD") || !isConsole(path)) return false;
    const address = apiAddress();
    const api = address && toApiOrigin(address, url);
    if (path === `${root}/`) {
      exchange.answer([":status", "308", "location", `..${root}`, "content-length", "0"], new Uint8Array());
      return true;
    }
    const file = path === servicePath ? toServiceFile(api) : files.get(toName(path));
    if (file === undefined) return false;
    answer(exchange, file, toPageFields(api));
    return true;
  };
}

function isConsole(path: string): boolean {
  return path === root || path.startsWith(`${root}/`);
}

function toName(path: string): string {
  return path === root ? "index.html" : path.slice(root.length + 1);
}

function toServiceFile(api: string | undefined): ConsoleFile {
  return toFile("application/json", Buffer.from(JSON.stringify({ api })));
}

/** What the page may do: run, show and fetch what is served here, and call the API. */
function toPageFields(api: string | undefined): Fields {
  const policy = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    `connect-src 'self'${api === undefined ? "" : ` ${api}`}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ];
  return [
    ...["content-security-policy", policy.join("; ")],
    ...["x-content-type-options", "nosniff"],
    ...["referrer-policy", "no-referrer"],
    ...["cross-origin-opener-policy", "same-origin"],
    ...["cross-origin-resource-policy", "same-origin"],
    // Asked for again each time, and sent only when it has changed.
    ...["cache-control", "no-cache"],
  ];
}

function answer(exchange: Exchange, { contentType, bytes, etag }: ConsoleFile, fields: Fields): void {
  const isKnown = toEtags(exchange.headers["if-none-match"]).includes(etag);
  if (isKnown) {
    exchange.end([":status", "304", "etag", etag, ...fields]);
    return;
  }
  const length = String(bytes.length);
  exchange.answer(
    [":status", "200", ...fields, "etag", etag, "content-type", contentType, "content-length", length],
    bytes,
  );
}

function toEtags(value = ""): string[] {
  return value.split(",").map((etag) => etag.trim().replace(/^W\//, ""));
}
