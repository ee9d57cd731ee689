import { type DescEnum, type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import { droppedFields } from "../json/envelope.ts";
import { commentOf } from "./comments.ts";
import type { JsonSchema, JsonSchemas } from "./json-schema.ts";
import { alternativesOf, isRequired, limitsOf } from "./limits.ts";

/**
 * In which JSON a message is: a REST body, a REST answer (OpenIM's JSON: 64-bit integers are numbers, enums in lower
 * case), or an event (protobuf's JSON: 64-bit integers are strings, and what is zero is left out).
 */
export type Dialect = "request" | "answer" | "event";

/** Schemas of messages, in one dialect. */
export interface Schemas {
  /** A reference to a message's schema, which is among {@link JsonSchemas} from then on. */
  reference(desc: DescMessage): JsonSchema;
  /** A message's schema itself. */
  inline(desc: DescMessage): JsonSchema;
}

/** Creates schemas, which are added to `known`. */
export function createSchemas(known: JsonSchemas, dialect: Dialect): Schemas {
  const reference = (desc: DescMessage): JsonSchema => {
    const name = schemaName(desc, dialect);
    if (known[name] === undefined) {
      // Before its fields: a message may be in itself.
      known[name] = {};
      known[name] = inline(desc);
    }
    return { $ref: `#/components/schemas/${name}` };
  };

  const inline = (desc: DescMessage): JsonSchema => {
    const fields = desc.fields.filter(({ jsonName }) => dialect !== "answer" || !droppedFields.includes(jsonName));
    const required = fields.filter(isAlways).map(({ jsonName }) => jsonName);
    return {
      ...describe(commentOf(desc)),
      type: "object",
      properties: Object.fromEntries(fields.map((field) => [field.jsonName, toProperty(field)])),
      ...(required.length === 0 ? {} : { required }),
      ...oneOfFields(desc),
      ...(dialect === "request" ? toAlternatives(desc) : {}),
    };
  };

  const isAlways = (field: DescField): boolean => {
    if (dialect === "event") return false;
    if (dialect === "answer") return field.presence === FeatureSet_FieldPresence.IMPLICIT && field.fieldKind !== "map";
    return isRequired(field);
  };

  const toProperty = (field: DescField): JsonSchema => {
    const limits = dialect === "answer" ? {} : limitsOf(field);
    const description = describe(commentOf(field));
    switch (field.fieldKind) {
      case "list": {
        const { items, ...others } = limits;
        return { ...description, type: "array", items: { ...toValue(field), ...items }, ...others };
      }
      case "map":
        return { ...description, type: "object", additionalProperties: toValue(field) };
      case "message":
        return { ...description, ...reference(field.message) };
      default:
        return dialect === "event" && isLong(field.scalar)
          ? { ...description, ...toValue(field) }
          : { ...description, ...toValue(field), ...limits };
    }
  };

  const toValue = (field: DescField): JsonSchema => {
    if (field.message !== undefined) return reference(field.message);
    if (field.enum !== undefined) return toEnum(field.enum, dialect);
    return toScalar(field.scalar ?? ScalarType.STRING, dialect);
  };

  return { reference, inline };
}

/** `mustreach.msg.v1.SendResult` → `msg.v1.SendResult`; of what is in bodies and in answers, two. */
function schemaName({ typeName }: DescMessage, dialect: Dialect): string {
  const name = typeName.replace("mustreach.", "");
  return dialect === "request" && !name.endsWith("Request") ? `${name}Input` : name;
}

function describe(description: string): JsonSchema {
  return description === "" ? {} : { description };
}

/** Of a message whose fields are alternatives, one is there. */
function oneOfFields({ oneofs, fields }: DescMessage): JsonSchema {
  const isAll = oneofs.length === 1 && fields.every(({ oneof }) => oneof === oneofs[0]);
  return isAll ? { minProperties: 1, maxProperties: 1 } : {};
}

/** Of fields that are alternatives by their message's rule, one is given. */
function toAlternatives(desc: DescMessage): JsonSchema {
  const names = alternativesOf(desc);
  if (names.length === 0) return {};
  const all = desc.fields.filter(({ name }) => names.includes(name));
  return {
    oneOf: all.map((given) => ({
      properties: Object.fromEntries(all.map((field) => [field.jsonName, toPresence(field, field === given)])),
      required: [given.jsonName],
    })),
  };
}

/** What a field is when it is given, and when it is not. */
function toPresence(field: DescField, isGiven: boolean): JsonSchema {
  if (field.fieldKind === "list") return isGiven ? { minItems: 1 } : { maxItems: 0 };
  if (field.scalar === ScalarType.BOOL) return { const: isGiven };
  return isGiven ? { minLength: 1 } : { maxLength: 0 };
}

function toEnum(desc: DescEnum, dialect: Dialect): JsonSchema {
  const isLower = dialect === "answer";
  const toName = (name: string) => (isLower ? name.slice(desc.sharedPrefix?.length).toLowerCase() : name);
  const meanings = desc.values.map((value) => `- \`${toName(value.name)}\`: ${commentOf(value)}`);
  return { type: "string", description: meanings.join("\n"), enum: desc.values.map(({ name }) => toName(name)) };
}

function isLong(scalar: ScalarType | undefined): boolean {
  return scalar === ScalarType.INT64 || scalar === ScalarType.UINT64;
}

const maxInt32 = 2_147_483_647;

function toScalar(scalar: ScalarType, dialect: Dialect): JsonSchema {
  const isEvent = dialect === "event";
  switch (scalar) {
    case ScalarType.STRING:
      return { type: "string" };
    case ScalarType.BOOL:
      return { type: "boolean" };
    case ScalarType.BYTES:
      return { type: "string", contentEncoding: "base64" };
    case ScalarType.INT32:
      return { type: "integer", format: "int32", minimum: -maxInt32 - 1, maximum: maxInt32 };
    case ScalarType.INT64:
      return isEvent ? { type: "string", pattern: "^-?[0-9]+$" } : toLong(-Number.MAX_SAFE_INTEGER);
    case ScalarType.UINT64:
      return isEvent ? { type: "string", pattern: "^[0-9]+$" } : toLong(0);
    default:
      throw new Error(`no schema for ${ScalarType[scalar]}`);
  }
}

/** As far as numbers of JSON are exact in every language. */
function toLong(minimum: number): JsonSchema {
  return { type: "integer", format: "int64", minimum, maximum: Number.MAX_SAFE_INTEGER };
}
