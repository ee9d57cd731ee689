// Not in the types of Node; toString("latin1") looks the encoding up at each call.
const latin1Slice: (this: Uint8Array, start: number, end: number) => string = Buffer.prototype.latin1Slice;

/** Each byte as a character. */
export function toText(bytes: Uint8Array, start: number, end: number): string {
  return latin1Slice.call(bytes, start, end);
}
