import type { Fields } from "../exchange.ts";
import { encodeFields } from "../hpack/encode.ts";

const none = new Uint8Array(0);

let second = 0;
let block: Uint8Array = none;

/** The `date` of an answer (RFC 9110, 6.6.1), encoded; nothing if its fields have one. Made once a second. */
export function toDate(fields: Fields): Uint8Array {
  if (fields.includes("date")) return none;
  const now = Math.floor(Date.now() / 1_000);
  if (now !== second) {
    second = now;
    block = encodeFields(["date", new Date(now * 1_000).toUTCString()]);
  }
  return block;
}
