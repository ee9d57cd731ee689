import {
  type DescField,
  type DescMessage,
  getOption,
  type JsonObject,
  type JsonValue,
  type Message,
  ScalarType,
  toJson,
} from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import { is_data } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Fields } from "../http2/exchange.ts";
import { compileToOpenImJson, droppedFields, headerFields } from "./envelope.ts";

/** An answer over REST: its header fields, and the `data` of its envelope. */
export interface Answer {
  readonly fields: Fields;
  /** Undefined for a message that has no fields: the envelope is then without it. */
  readonly data: JsonValue | undefined;
}

/** Makes a message an answer. */
export type ToAnswer = (message: Message) => Answer;

/** Writes the value of a field, which is there. */
type WriteValue = (value: never) => unknown;

interface PlainField {
  readonly jsonName: string;
  readonly localName: string;
  /** Whether a zero is written too. */
  readonly isImplicit: boolean;
  /** Whether it is left out when it is empty, as OpenIM does with maps. */
  readonly isMap: boolean;
  readonly write: WriteValue | undefined;
}

/**
 * Compiles what makes a message the answer of a method: in OpenIM's JSON, and with the fields that OpenIM does not have
 * as header fields. Messages of strings, numbers, bytes, enums, messages, and lists and maps of them are written directly;
 * any other goes through protobuf's JSON.
 */
export function compileAnswer(desc: DescMessage): ToAnswer {
  const write = compilePlain(desc, new Map());
  const toFields = compileHeaderFields(desc);
  const list = desc.fields.find((field) => getOption(field, is_data))?.jsonName;
  if (desc.fields.length === 0) return () => nothing;
  if (write !== undefined && list !== undefined) {
    return (message) => ({ fields: toFields(message), data: write(message)[list] });
  }
  if (write !== undefined) return (message) => ({ fields: toFields(message), data: write(message) });
  const toOpenImJson = compileToOpenImJson(desc);
  return (message) => ({
    fields: toFields(message),
    data: toOpenImJson(toJson(desc, message, { alwaysEmitImplicit: true }) as JsonObject),
  });
}

const nothing: Answer = { fields: [], data: undefined };

function compileHeaderFields(desc: DescMessage): (message: Message) => Fields {
  const writers = desc.fields.flatMap((field) => {
    const header = headerFields[field.jsonName]?.toLowerCase();
    if (header === undefined || field.fieldKind !== "enum") return [];
    const { localName } = field;
    const texts = new Map(
      field.enum.values.map(({ number, name }) => [number, name.slice(field.enum.sharedPrefix?.length).toUpperCase()]),
    );
    return [{ header, localName, texts }];
  });
  return (message) =>
    writers.flatMap(({ header, localName, texts }) => {
      const value: unknown = Reflect.get(message, localName);
      return [header, texts.get(Number(value)) ?? String(value)];
    });
}

type WriteMessage = (message: Message) => JsonObject;

/** The writer of a message; undefined when it has a field of another kind than {@link compileAnswer} says. */
function compilePlain(desc: DescMessage, known: Map<DescMessage, WriteMessage>): WriteMessage | undefined {
  const earlier = known.get(desc);
  if (earlier !== undefined) return earlier;
  // Those have a JSON form of their own.
  if (desc.typeName.startsWith("google.protobuf.")) return undefined;
  const fields: PlainField[] = [];
  const write: WriteMessage = (message) => {
    const json: JsonObject = {};
    for (const { jsonName, localName, isImplicit, isMap, write } of fields) {
      const value: unknown = Reflect.get(message, localName);
      if (!isImplicit && value === undefined) continue;
      if (isMap && isEmpty(value)) continue;
      json[jsonName] = (write === undefined ? value : write(value as never)) as JsonObject[string];
    }
    return json;
  };
  known.set(desc, write);
  for (const field of desc.fields.toSorted((a, b) => a.number - b.number)) {
    if (droppedFields.includes(field.jsonName)) continue;
    const compiled = compileField(field, known);
    if (compiled === "other") return undefined;
    fields.push(compiled);
  }
  return write;
}

function compileField(field: DescField, known: Map<DescMessage, WriteMessage>): PlainField | "other" {
  const { jsonName, localName } = field;
  const isProto3 = field.parent.file.proto.syntax === "proto3";
  if (!isProto3 || field.oneof !== undefined) return "other";
  const item = compileValue(field, known);
  if (item === "other") return "other";
  const isMap = field.fieldKind === "map";
  const isImplicit = field.presence === FeatureSet_FieldPresence.IMPLICIT;
  return { jsonName, localName, isImplicit, isMap, write: item && writeAll(field, item) };
}

function writeAll({ fieldKind }: DescField, item: WriteValue): WriteValue {
  if (fieldKind === "list") return (list: never[]) => list.map(item);
  if (fieldKind !== "map") return item;
  return (map: Record<string, never>) =>
    Object.fromEntries(Object.entries(map).map(([key, value]) => [key, item(value)]));
}

function isEmpty(map: unknown): boolean {
  for (const _ in map as Record<string, unknown>) return false;
  return true;
}

/** The writer of a value; undefined when it stays as it is. */
function compileValue(field: DescField, known: Map<DescMessage, WriteMessage>): WriteValue | undefined | "other" {
  if (field.message !== undefined) return compilePlain(field.message, known) ?? "other";
  if (field.enum !== undefined) {
    const { sharedPrefix = "", values } = field.enum;
    const isPrefixed = sharedPrefix !== "";
    const texts = new Map(
      values.map(({ number, name }) => [number, isPrefixed ? name.slice(sharedPrefix.length).toLowerCase() : name]),
    );
    // A value that this version does not know is its number.
    return (value: number) => texts.get(value) ?? value;
  }
  switch (field.scalar) {
    case ScalarType.STRING:
    case ScalarType.BOOL:
    case ScalarType.INT32:
      return undefined;
    case ScalarType.INT64:
    case ScalarType.UINT64:
      return (value: bigint) => Number(value);
    case ScalarType.BYTES:
      return (value: Uint8Array) => Buffer.from(value.buffer, value.byteOffset, value.length).toString("base64");
    default:
      return "other";
  }
}
