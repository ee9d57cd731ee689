import {
  type DescEnum,
  type DescField,
  type DescMessage,
  type JsonObject,
  type JsonValue,
  ScalarType,
} from "@bufbuild/protobuf";
import type { ErrorFacts } from "../errors.ts";

/**
 * Response fields that are not OpenIM's, by their JSON name, and the header in which each travels over REST: the
 * documented `data` has the documented fields only. In a message within a message such a field is left out.
 */
export const headerFields: Readonly<Record<string, string>> = { durability: "Mustreach-Durability" };

/** Fields that only a device's stream has a use for: over REST there is none. */
const streamFields: readonly string[] = ["epoch"];

/** Fields that the JSON of an answer does not have, by their JSON name. */
export const droppedFields: readonly string[] = [...Object.keys(headerFields), ...streamFields];

/** The envelope of an error: without `data`. */
export function errorEnvelope({ errCode, errMsg, errDlt }: ErrorFacts): string {
  return JSON.stringify({ errCode, errMsg, errDlt });
}

/** The envelope of a success. */
export function successEnvelope(data?: JsonValue): string {
  return data === undefined
    ? '{"errCode":0,"errMsg":"","errDlt":""}'
    : `{"errCode":0,"errMsg":"","errDlt":"","data":${JSON.stringify(data)}}`;
}

/** Turns a message's protobuf-JSON into OpenIM's JSON. */
export type ToOpenImJson = (json: JsonObject) => JsonObject;

/**
 * Compiles the conversion for a message type. Protobuf-JSON writes 64-bit integers as strings, OpenIM as numbers; those
 * here are times, durations and counts, far below 2^53. An enum's value loses the enum's name and is in lower case:
 * `DELIVERY_STATE_PENDING` is `pending`.
 */
export function compileToOpenImJson(desc: DescMessage): ToOpenImJson {
  const converters = desc.fields.flatMap((field): [string, (value: JsonValue) => JsonValue][] => {
    const convert = compileField(field);
    return convert === undefined ? [] : [[field.jsonName, convert]];
  });
  return (json) => {
    for (const [name, convert] of converters) {
      const value = json[name];
      if (value !== undefined && value !== null) json[name] = convert(value);
    }
    for (const name of droppedFields) delete json[name];
    return json;
  };
}

function compileField(field: DescField): ((value: JsonValue) => JsonValue) | undefined {
  const convert = isInt64(field) ? Number : (compileEnum(field.enum) ?? compileMessage(field));
  if (convert === undefined || field.fieldKind !== "list") return convert;
  return (value) => (Array.isArray(value) ? value.map(convert) : value);
}

function compileEnum(desc: DescEnum | undefined): ((value: JsonValue) => JsonValue) | undefined {
  const { sharedPrefix } = desc ?? {};
  if (sharedPrefix === undefined) return undefined;
  // A value that this version does not know is its number.
  return (value) => (typeof value === "string" ? value.slice(sharedPrefix.length).toLowerCase() : value);
}

function compileMessage(field: DescField): ((value: JsonValue) => JsonValue) | undefined {
  if (field.message === undefined || field.fieldKind === "map") return undefined;
  const convert = compileToOpenImJson(field.message);
  return (value) => convert(value as JsonObject);
}

function isInt64(field: DescField): boolean {
  const scalar = field.fieldKind === "scalar" || field.fieldKind === "list" ? field.scalar : undefined;
  return (
    scalar === ScalarType.INT64 ||
    scalar === ScalarType.UINT64 ||
    scalar === ScalarType.SINT64 ||
    scalar === ScalarType.FIXED64 ||
    scalar === ScalarType.SFIXED64
  );
}
