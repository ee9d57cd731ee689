import type { RequestHeaders } from "../exchange.ts";
import type { DecodedFields } from "../hpack/fields.ts";

/** What to do with a request: to answer it with a status of ours, or to reset it as malformed (RFC 9113, 8.1.1). */
type Fate = "served" | "malformed" | 431 | 501;

/** A request's header fields as section 8 of RFC 9113 reads them. */
export class Request {
  readonly headers: RequestHeaders;
  readonly fate: Fate;
  /** The answer has no body. */
  readonly isHead: boolean;
  /** What `content-length` says, or -1. */
  readonly contentLength: number;
  readonly wantsContinue: boolean;

  constructor(fields: DecodedFields) {
    // What is missing may be in the part that was too much.
    this.headers = fields.isTooLarge ? {} : fields.headers;
    this.fate = fields.isTooLarge ? 431 : judge(fields);
    this.isHead = this.headers[":method"] === "HEAD";
    this.contentLength = toContentLength(this.headers["content-length"]) ?? -1;
    this.wantsContinue = this.headers.expect?.toLowerCase() === "100-continue";
  }
}

const pseudoNames: ReadonlySet<string> = new Set([":method", ":scheme", ":authority", ":path"]);
/** Of the connection, and meaningless here (8.2.2). */
const connectionNames: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);
/** A token (RFC 9110, 5.6.2) without upper case. */
const fieldName = /^[a-z0-9!#$%&'*+\-.^_`|~]+$/;
/** Control characters other than tab, and spaces at the ends (8.2.1). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must not be there
const wrongValue = /[\x00-\x08\x0a-\x1f\x7f]|^[\t ]|[\t ]$/;
const method = /^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$/;
const scheme = /^[A-Za-z][A-Za-z0-9+\-.]*$/;
const path = /^(?:\/[\x21-\x7e\x80-\xff]*|\*)$/;
/** Without user information (8.3.1). */
const authority = /^[\x21-\x3f\x41-\x7e\x80-\xff]*$/;
const digits = /^\d{1,15}$/;

/** Reads the header fields of a request. The same ones come over and over, and then as the same object. */
export function toRequest(fields: DecodedFields): Request {
  if (fields.note instanceof Request) return fields.note;
  const request = new Request(fields);
  fields.note = request;
  return request;
}

/** Whether the fields after a body may stand there (8.1). */
export function areTrailers({ list, isTooLarge }: DecodedFields): boolean {
  return !isTooLarge && countPseudoFields(list) === 0;
}

function judge({ list, headers }: DecodedFields): Fate {
  const pseudoFields = countPseudoFields(list);
  if (pseudoFields < 0 || toContentLength(headers["content-length"]) === undefined) return "malformed";
  // Two would be told as two by two servers (8.3.1), and two hosts are one that is none here; a host alone stands as the authority too.
  if (headers.host !== undefined && headers.host.toLowerCase() !== headers[":authority"]?.toLowerCase()) {
    return "malformed";
  }
  if (headers[":method"] !== "CONNECT") return hasTarget(headers) ? "served" : "malformed";
  return pseudoFields === 2 && headers[":path"] === undefined && headers[":scheme"] === undefined ? 501 : "malformed";
}

/** @returns how many there are, or -1 if a field, or the place of a pseudo field, is against the rules (8.2, 8.3). */
function countPseudoFields(list: DecodedFields["list"]): number {
  let count = 0;
  const isOver = (at: number) => at > 2 * count;
  for (let at = 0; at < list.length; at += 2) {
    const name = list[at] ?? "";
    const value = list[at + 1] ?? "";
    if (wrongValue.test(value)) return -1;
    if (name.startsWith(":")) {
      if (isOver(at) || !pseudoNames.has(name) || isRepeated(list, name, at)) return -1;
      count++;
    } else if (
      !fieldName.test(name) ||
      connectionNames.has(name) ||
      (name === "te" && value.toLowerCase() !== "trailers")
    ) {
      return -1;
    }
  }
  return count;
}

function isRepeated(list: DecodedFields["list"], name: string, at: number): boolean {
  for (let i = 0; i < at; i += 2) if (list[i] === name) return true;
  return false;
}

function hasTarget(headers: RequestHeaders): boolean {
  const target = headers[":path"] ?? "";
  return (
    method.test(headers[":method"] ?? "") &&
    scheme.test(headers[":scheme"] ?? "") &&
    path.test(target) &&
    (target !== "*" || headers[":method"] === "OPTIONS") &&
    authority.test(headers[":authority"] ?? "")
  );
}

/** @returns -1 if there is none, nothing if it is no number, or if there are two (RFC 9110, 8.6). */
function toContentLength(value: string | undefined): number | undefined {
  if (value === undefined) return -1;
  return digits.test(value) ? Number(value) : undefined;
}
