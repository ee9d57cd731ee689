/** A value of a field; absent ones are left out by who writes, as all that are zero. */
export type GobValue = number | string | boolean | Uint8Array;

/** A struct by the names of its fields: gob matches by name, whatever the order, the numbers and the struct's own name. */
export type GobStruct = ReadonlyMap<string, GobValue>;

/** Bytes that are no gob, or none of a struct of plain fields. */
export class GobError extends Error {
  override name = "GobError";
}

/** The types that every gob stream knows, by their ids. */
const typeIds = { bool: 1, int: 2, uint: 3, float: 4, bytes: 5, string: 6 } as const;

/** Which field of a wireType says that it is a struct's. */
const structType = 3;

/** The most fields of a struct that is read. */
const maxFields = 64;

interface FieldType {
  readonly name: string;
  readonly type: number;
}

/**
 * Reads the first value of a gob stream (encoding/gob of Go), which is a struct of plain fields, with the definitions of
 * types before it.
 *
 * @throws {GobError}
 */
export function readGob(bytes: Uint8Array): GobStruct {
  // A piece of a Buffer is another Buffer.
  const stream = new GobReader(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length));
  const types = new Map<number, readonly FieldType[]>();
  for (;;) {
    const message = stream.message();
    const type = message.int();
    if (type < 0) {
      types.set(-type, readDefinition(message));
      continue;
    }
    const fields = types.get(type);
    if (fields === undefined) throw new GobError(`type ${type} is no struct that was defined`);
    return readStruct(message, fields);
  }
}

/** Reads the definition of a struct: `wireType{StructT: structType{CommonType{Name, Id}, Field}}`. */
function readDefinition(message: GobReader): readonly FieldType[] {
  let fields: readonly FieldType[] = [];
  if (message.uint() !== structType) throw new GobError("a type that is no struct");
  message.fields((field) => {
    if (field === 1) message.fields((part) => void (part === 1 ? message.bytes() : message.int()));
    else fields = readFieldTypes(message);
  });
  return fields;
}

function readFieldTypes(message: GobReader): readonly FieldType[] {
  const count = message.uint();
  if (count > maxFields) throw new GobError("a struct of too many fields");
  return Array.from({ length: count }, () => {
    let name = "";
    let type = 0;
    message.fields((part) => {
      if (part === 1) name = message.text();
      else type = message.int();
    });
    return { name, type };
  });
}

function readStruct(message: GobReader, types: readonly FieldType[]): GobStruct {
  const values = new Map<string, GobValue>();
  message.fields((number) => {
    const field = types[number - 1];
    if (field === undefined) throw new GobError("a field that is not defined");
    values.set(field.name, readValue(message, field.type));
  });
  return values;
}

function readValue(message: GobReader, type: number): GobValue {
  switch (type) {
    case typeIds.bool:
      return message.uint() !== 0;
    case typeIds.int:
      return message.int();
    // Of a float, as of an unsigned number, only where it ends is of interest here.
    case typeIds.uint:
    case typeIds.float:
      return message.uint();
    case typeIds.bytes:
      return message.bytes();
    case typeIds.string:
      return message.text();
    default:
      throw new GobError(`a field of type ${type}`);
  }
}

/** The longest number, in bytes. */
const maxNumberBytes = 8;

const utf8 = new TextDecoder();

class GobReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** The next message: its length, and that many bytes. */
  message(): GobReader {
    return new GobReader(this.bytes());
  }

  bytes(): Uint8Array {
    const length = this.uint();
    if (length > this.#bytes.length - this.#at) throw new GobError("cut off");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  text(): string {
    return utf8.decode(this.bytes());
  }

  /** Fields until their end: before each its distance from the one before it, from 0 on; 0 is the end. */
  fields(read: (number: number) => void): void {
    let number = 0;
    for (let delta = this.uint(); delta !== 0; delta = this.uint()) {
      number += delta;
      if (number > maxFields) throw new GobError("a field that is not defined");
      read(number);
    }
  }

  /** One beyond 2^53 is not exact: nobody here has one. */
  uint(): number {
    const first = this.#byte();
    if (first < 128) return first;
    const count = 256 - first;
    if (count > maxNumberBytes) throw new GobError("a number of too many bytes");
    let value = 0;
    for (let i = 0; i < count; i++) value = value * 256 + this.#byte();
    return value;
  }

  int(): number {
    const value = this.uint();
    return value % 2 === 1 ? -(value - 1) / 2 - 1 : value / 2;
  }

  #byte(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) throw new GobError("cut off");
    return byte;
  }
}
