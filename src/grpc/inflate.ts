import { gunzip, gunzipSync } from "node:zlib";
import { Code, ConnectError } from "@connectrpc/connect";
import type { MessageLimit } from "./message-reader.ts";

/** The encodings of messages that are understood, besides none. */
export const acceptedEncodings = "gzip";

/** Messages up to this size are inflated at once, larger ones beside the event loop. Unit: bytes. */
const maxInlineBytes = 16_384;

/** The shortest gzip: a head of 10 bytes, an empty block of 2, and a tail of 8. */
const minGzipBytes = 20;

/**
 * The length that a gzipped message says it becomes: known, and bounded, before anything is inflated.
 *
 * @throws the limit's error for a message that becomes larger, and INTERNAL for what is no gzip.
 */
export function inflatedLength(bytes: Uint8Array, limit: MessageLimit): number {
  // What a gzip begins with (RFC 1952, 2.3.1); what does not, says no length either.
  if (bytes.length < minGzipBytes || bytes[0] !== 0x1f || bytes[1] !== 0x8b) throw corrupt();
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(bytes.length - 4, true);
  if (length > limit.maxBytes) throw limit.tooLarge();
  return length;
}

/**
 * Inflates a gzipped message to the {@link inflatedLength} that it says; with a promise when that takes longer, and then
 * of a copy. Inflating stops where the length is not true, so a message has to be one gzip: several in a row, which
 * RFC 1952 allows and no gRPC library makes, are none.
 *
 * @throws INTERNAL for what is no gzip, or no single one.
 */
export function inflate(bytes: Uint8Array, length: number): Uint8Array | Promise<Uint8Array> {
  // zlib takes no zero.
  const options = { maxOutputLength: Math.max(1, length) };
  if (length <= maxInlineBytes && bytes.length <= maxInlineBytes) {
    try {
      return requireLength(gunzipSync(bytes, options), length);
    } catch (cause) {
      throw corrupt(cause);
    }
  }
  return new Promise((resolve, reject) => {
    gunzip(Uint8Array.from(bytes), options, (cause, inflated) => {
      if (cause === null && inflated.length === length) resolve(inflated);
      else reject(corrupt(cause));
    });
  });
}

function requireLength(inflated: Uint8Array, length: number): Uint8Array {
  if (inflated.length !== length) throw corrupt();
  return inflated;
}

function corrupt(cause?: unknown): ConnectError {
  return new ConnectError("the message is not one gzip", Code.Internal, undefined, undefined, cause);
}
