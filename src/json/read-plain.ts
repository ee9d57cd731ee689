import { create, type DescField, type DescMessage, type JsonValue, type Message, ScalarType } from "@bufbuild/protobuf";
import { isObject } from "./field-names.ts";

/** Makes a message of JSON that is as plain as most of it; undefined for anything that asks for a second look. */
export type ReadPlain = (json: JsonValue) => Message | undefined;

/** Makes a field's value; undefined for what it does not take. */
type ReadValue = (json: JsonValue) => unknown;

interface PlainField {
  readonly localName: string;
  readonly read: ReadValue;
}

const compiled = new WeakMap<DescMessage, ReadPlain>();

/**
 * Compiles the reader of JSON in which every key is the documented name of a field, and every value what one expects
 * there. It takes nothing that protobuf's own reader does not, and makes the same of it: what it leaves is for that one,
 * and for all leniency.
 */
export function compileReadPlain(desc: DescMessage): ReadPlain {
  const known = compiled.get(desc);
  if (known !== undefined) return known;
  const fields = new Map<string, PlainField>();
  const read: ReadPlain = (json) => {
    if (!isObject(json)) return undefined;
    const message: Message & Record<string, unknown> = create(desc);
    for (const key in json) {
      const field = fields.get(key);
      if (field === undefined) return undefined;
      const value = field.read(json[key] ?? null);
      if (value === undefined) return undefined;
      message[field.localName] = value;
    }
    return message;
  };
  // Before its fields: a message may be in itself.
  compiled.set(desc, read);
  for (const field of desc.fields) {
    const { jsonName, localName } = field;
    const read = compileField(field);
    if (read !== undefined && field.oneof === undefined) fields.set(jsonName, { localName, read });
  }
  return read;
}

function compileField(field: DescField): ReadValue | undefined {
  if (field.fieldKind === "scalar") return readScalar(field.scalar);
  if (field.fieldKind === "message") return compileMessage(field.message);
  if (field.fieldKind !== "list") return undefined;
  if (field.listKind === "scalar") return readList(readScalar(field.scalar));
  return field.listKind === "message" ? readList(compileMessage(field.message)) : undefined;
}

function compileMessage(desc: DescMessage): ReadValue | undefined {
  // Those have a JSON form of their own.
  return desc.typeName.startsWith("google.protobuf.") ? undefined : compileReadPlain(desc);
}

function readList(read: ReadValue | undefined): ReadValue | undefined {
  if (read === undefined) return undefined;
  return (json) => {
    if (!Array.isArray(json)) return undefined;
    const values: unknown[] = [];
    for (const item of json) {
      const value = read(item);
      if (value === undefined) return undefined;
      values.push(value);
    }
    return values;
  };
}

function readScalar(scalar: ScalarType): ReadValue | undefined {
  switch (scalar) {
    case ScalarType.STRING:
      return (json) => (typeof json === "string" && json.isWellFormed() ? json : undefined);
    case ScalarType.BOOL:
      return (json) => (typeof json === "boolean" ? json : undefined);
    case ScalarType.INT32:
      return (json) => (typeof json === "number" && (json | 0) === json ? json : undefined);
    case ScalarType.INT64:
      return (json) => (typeof json === "number" && Number.isSafeInteger(json) ? BigInt(json) : undefined);
    case ScalarType.UINT64:
      return (json) => (typeof json === "number" && Number.isSafeInteger(json) && json >= 0 ? BigInt(json) : undefined);
    default:
      return undefined;
  }
}
