import { create, type DescField, type DescMessage, isFieldSet, type Message, ScalarType } from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import { prefixBytes } from "./frame.ts";

/**
 * Reads and writes messages of plain fields, such as most requests and answers are: strings of ASCII, numbers, booleans
 * and open enums, each once. What is anything else is left to protobuf's own code, by `undefined`; what comes out is the
 * same.
 */
export interface FlatCodec {
  /** Reads a message, which keeps nothing of the bytes. */
  read(bytes: Uint8Array): Message | undefined;
  /** Writes a message, with its prefix, as a frame. */
  write(message: Message): Uint8Array | undefined;
}

type Kind = "string" | "int32" | "int64" | "bool";

interface Plain {
  readonly name: string;
  readonly kind: Kind;
  readonly tag: number;
  /** Whether it is written also when it has its default, if it is set. */
  readonly isExplicit: boolean;
}

type Fields = Record<string, unknown>;

/** Larger messages are written by protobuf's own code. Unit: bytes. */
const maxWrittenBytes = 4_096;

/** Fields up to this number have a tag of one byte. */
const maxFieldNumber = 15;

/** Where messages are written before they are a frame. */
const scratch = Buffer.allocUnsafeSlow(maxWrittenBytes);

/** Compiles the codec of a message type. */
export function compileFlatCodec(desc: DescMessage): FlatCodec {
  const readers: (Plain | undefined)[] = [];
  const plain: Plain[] = [];
  /** Those that are not plain, which a message to be written must not have. */
  const others: DescField[] = [];
  const isFlat = desc.oneofs.length === 0;
  for (const field of [...desc.fields].sort((a, b) => a.number - b.number)) {
    const compiled = toPlain(field);
    if (compiled === undefined) others.push(field);
    else {
      plain.push(compiled);
      readers[field.number] = compiled;
    }
  }
  const createEmpty = compileEmpty(desc);
  return {
    read: (bytes) => readPlain(createEmpty(), readers, toBuffer(bytes)),
    write(message) {
      if (!isFlat || message.$unknown !== undefined) return undefined;
      for (const field of others) if (isFieldSet(message, field)) return undefined;
      return writePlain(message, plain);
    },
  };
}

/** As protobuf's `create`, at a third of its cost: copies what that has made once. */
function compileEmpty(desc: DescMessage): () => Message {
  const template = create(desc);
  const lists = desc.fields.filter(({ fieldKind }) => fieldKind === "list").map(({ localName }) => localName);
  const objects = Object.values(template).filter((value) => typeof value === "object");
  // Some have other objects in them, or their defaults in a prototype.
  if (objects.length > lists.length || Object.getPrototypeOf(template) !== Object.prototype) return () => create(desc);
  return () => {
    const message: Message & Fields = { ...template };
    for (const name of lists) message[name] = [];
    return message;
  };
}

function toPlain(field: DescField): Plain | undefined {
  const { number, localName: name } = field;
  if (number > maxFieldNumber || field.oneof !== undefined) return undefined;
  const kind = toKind(field);
  if (kind === undefined) return undefined;
  const isExplicit = field.presence !== FeatureSet_FieldPresence.IMPLICIT;
  return { name, kind, tag: (number << 3) | (kind === "string" ? 2 : 0), isExplicit };
}

function toKind(field: DescField): Kind | undefined {
  if (field.fieldKind === "enum") return field.enum.open ? "int32" : undefined;
  if (field.fieldKind !== "scalar") return undefined;
  switch (field.scalar) {
    case ScalarType.STRING:
      return "string";
    case ScalarType.INT32:
    case ScalarType.UINT32:
      return "int32";
    case ScalarType.INT64:
    case ScalarType.UINT64:
      return field.longAsString ? undefined : "int64";
    case ScalarType.BOOL:
      return "bool";
    default:
      return undefined;
  }
}

function readPlain(message: Message, readers: readonly (Plain | undefined)[], bytes: Buffer): Message | undefined {
  const fields = message as unknown as Fields;
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at++] ?? 0;
    const plain = readers[tag >> 3];
    if (plain === undefined || plain.tag !== tag) return undefined;
    // A length, or the value: of up to 4 bytes of 7 bits each. Times have more, and negative numbers 10.
    let value = 0;
    let scale = 1;
    let byte = 0x80;
    for (const end = at + (plain.kind === "int64" ? 7 : 4); byte > 0x7f; scale *= 0x80) {
      if (at >= end || at >= bytes.length) return undefined;
      byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * scale;
    }
    if (plain.kind === "string") {
      const text = readAscii(bytes, at, at + value);
      if (text === undefined) return undefined;
      fields[plain.name] = text;
      at += value;
    } else if (plain.kind === "int64") fields[plain.name] = BigInt(value);
    else fields[plain.name] = plain.kind === "bool" ? value !== 0 : value;
  }
  return message;
}

function readAscii(bytes: Buffer, start: number, end: number): string | undefined {
  if (end > bytes.length) return undefined;
  for (let i = start; i < end; i++) if ((bytes[i] ?? 0) > 0x7f) return undefined;
  return bytes.toString("latin1", start, end);
}

function toBuffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function writePlain(message: Message, plain: readonly Plain[]): Uint8Array | undefined {
  const fields = message as unknown as Fields;
  let at = prefixBytes;
  for (const field of plain) {
    const value = fields[field.name];
    if (value === undefined || (!field.isExplicit && isDefault(value))) continue;
    const after = writeField(field, value, at);
    if (after === undefined) return undefined;
    at = after;
  }
  scratch[0] = 0;
  scratch.writeUInt32BE(at - prefixBytes, 1);
  const frame = Buffer.allocUnsafe(at);
  scratch.copy(frame, 0, 0, at);
  return frame;
}

function isDefault(value: unknown): boolean {
  return value === "" || value === 0 || value === 0n || value === false;
}

/** Writes a field where there is room for it; the place after it. */
function writeField({ kind, tag }: Plain, value: unknown, start: number): number | undefined {
  let at = start;
  // A tag and a number have at most 11 bytes.
  if (at + 11 > maxWrittenBytes) return undefined;
  scratch[at++] = tag;
  if (kind === "string") {
    if (typeof value !== "string" || at + 5 + value.length > maxWrittenBytes) return undefined;
    at = writeVarint(value.length, at);
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) return undefined;
      scratch[at++] = code;
    }
    return at;
  }
  if (kind === "bool") {
    if (typeof value !== "boolean") return undefined;
    scratch[at++] = value ? 1 : 0;
    return at;
  }
  if (typeof value !== (kind === "int64" ? "bigint" : "number")) return undefined;
  const number = Number(value);
  const most = kind === "int64" ? Number.MAX_SAFE_INTEGER : 0x7f_ff_ff_ff;
  return Number.isInteger(number) && number >= 0 && number <= most ? writeVarint(number, at) : undefined;
}

function writeVarint(value: number, start: number): number {
  let at = start;
  let rest = value;
  while (rest > 0x7f) {
    scratch[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  scratch[at++] = rest;
  return at;
}
