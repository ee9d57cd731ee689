import type { DecodedFields, Fields } from "./fields.ts";

type Headers = DecodedFields["headers"];

export class DecodedBlock implements DecodedFields {
  readonly list: Fields;
  readonly size: number;
  readonly isTooLarge: boolean;
  note: unknown;
  private record: Headers | undefined;

  constructor(list: Fields, size: number, isTooLarge: boolean) {
    this.list = list;
    this.size = size;
    this.isTooLarge = isTooLarge;
    this.note = undefined;
    this.record = undefined;
  }

  get headers(): Headers {
    this.record ??= toRecord(this.list);
    return this.record;
  }
}

/** An object without a prototype, which V8 does not take for a dictionary: twice as fast to fill, and to ask. */
class HeaderRecord {
  [name: string]: string | undefined;
}
Object.setPrototypeOf(HeaderRecord.prototype, null);
Reflect.deleteProperty(HeaderRecord.prototype, "constructor");

/**
 * Fields that there can be once: of more, the first counts, as with Node's HTTP/2. Without those that are refused then:
 * `host` and `content-length`.
 */
export const singleFields: ReadonlySet<string> = new Set([
  ...["access-control-allow-credentials", "access-control-max-age", "access-control-request-method", "age"],
  ...["authorization", "content-encoding", "content-language", "content-location", "content-md5", "content-range"],
  ...["content-type", "date", "dnt", "etag", "expires", "from", "if-match", "if-modified-since", "if-none-match"],
  ...["if-range", "if-unmodified-since", "last-modified", "location", "max-forwards", "proxy-authorization", "range"],
  ...["referer", "retry-after", "tk", "upgrade-insecure-requests", "user-agent", "x-content-type-options"],
]);

function toRecord(list: Fields): Headers {
  const record = new HeaderRecord();
  for (let at = 0; at + 1 < list.length; at += 2) {
    const name = list[at] ?? "";
    const value = list[at + 1] ?? "";
    const before = record[name];
    if (before === undefined) record[name] = value;
    // The parts of a cookie may come as fields of their own (RFC 9113, 8.2.3).
    else if (!singleFields.has(name)) record[name] = before + (name === "cookie" ? "; " : ", ") + value;
  }
  const { host } = record;
  if (host !== undefined && record[":authority"] === undefined) record[":authority"] = host;
  return record;
}
