import type { Fields } from "./fields.ts";
import { staticEntries } from "./static-table.ts";

/**
 * To be put before the first block after the peer has lowered SETTINGS_HEADER_TABLE_SIZE below 4,096 bytes (RFC 7541,
 * 4.2): the table has no size from now on. It never had an entry; so once is enough for a connection.
 */
export const tableSizeUpdate: Uint8Array = Uint8Array.of(0x20);

/** Never to be indexed, by who passes them on either (RFC 7541, 7.1.3): short secrets could be guessed. */
const sensitiveNames: ReadonlySet<string> = new Set(["authorization", "cookie", "proxy-authorization", "set-cookie"]);
/** The longest integer that is written here: a prefix, and 7 bits in each of five more bytes. */
const maxIntegerBytes = 6;

/** How a field is represented (RFC 7541, 6). */
const indexed = 0x80;
const notIndexed = 0x00;
const neverIndexed = 0x10;

const encoded = new WeakMap<Fields, Uint8Array>();

/**
 * A header block of fields that are always the same. Made once: neither the fields nor the block may be changed. For any
 * connection and any place in it, as the encoder has no table.
 */
export function encodeFields(fields: Fields): Uint8Array {
  const known = encoded.get(fields);
  if (known !== undefined) return known;
  const target = new Uint8Array(maxSizeOf(fields));
  const block = target.slice(0, writeFields(target, 0, fields));
  encoded.set(fields, block);
  return block;
}

/** How many bytes {@link writeFields} needs at most. */
export function maxSizeOf(fields: Fields): number {
  let size = 0;
  for (let i = 0; i < fields.length; i++) size += (fields[i]?.length ?? 0) + maxIntegerBytes;
  return size;
}

/**
 * Writes a header block, or a part of one: from the static table, and literals that are not indexed. Not compressed
 * further, as the bytes cost less than the time. A character that is no byte, or must not stand in a field (RFC 9113,
 * 8.2.1: NUL, CR, LF), is written as "?".
 *
 * @param fields lower-case names, those that begin with a colon first.
 * @returns where it ends, or -1 when the target may be too short ({@link maxSizeOf}); it is then partly written.
 */
export function writeFields(target: Uint8Array, offset: number, fields: Fields): number {
  let at = offset;
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? "";
    const value = fields[i + 1] ?? "";
    if (at + name.length + value.length + 2 * maxIntegerBytes > target.length) return -1;
    at = writeField(target, at, name, value);
  }
  return at;
}

function writeField(target: Uint8Array, offset: number, name: string, value: string): number {
  const entry = staticEntries.get(name);
  const index = entry?.values.get(value);
  if (index !== undefined) {
    target[offset] = indexed | index;
    return offset + 1;
  }
  const kind = sensitiveNames.has(name) ? neverIndexed : notIndexed;
  if (entry !== undefined) return writeString(target, writeInteger(target, offset, kind, 4, entry.index), value);
  target[offset] = kind;
  return writeString(target, writeString(target, offset + 1, name), value);
}

function writeString(target: Uint8Array, offset: number, text: string): number {
  const at = writeInteger(target, offset, 0, 7, text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    target[at + i] = code > 0xff || (code < 0x0e && (code === 0 || code === 0x0a || code === 0x0d)) ? 0x3f : code;
  }
  return at + text.length;
}

/** Writes an integer (RFC 7541, 5.1) whose first byte shares its place with what kind of thing it belongs to. */
function writeInteger(target: Uint8Array, offset: number, kind: number, prefixBits: number, value: number): number {
  const prefix = (1 << prefixBits) - 1;
  if (value < prefix) {
    target[offset] = kind | value;
    return offset + 1;
  }
  target[offset] = kind | prefix;
  let at = offset + 1;
  let rest = value - prefix;
  for (; rest > 0x7f; rest >>>= 7) target[at++] = 0x80 | (rest & 0x7f);
  target[at++] = rest;
  return at;
}
