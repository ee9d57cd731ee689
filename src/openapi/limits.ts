import { type DescField, type DescMessage, getOption, hasOption, toJson } from "@bufbuild/protobuf";
import { FieldRulesSchema, field as fieldRules, message as messageRules } from "../gen/buf/validate/validate_pb.ts";
import type { JsonSchema } from "./json-schema.ts";

/**
 * The words of JSON Schema for the rules of `buf.validate`. Of bytes of UTF-8 it has none; there are never more
 * characters than bytes.
 */
const keywords: Readonly<Record<string, keyof JsonSchema>> = {
  ...{ minBytes: "minLength", maxBytes: "maxLength", pattern: "pattern" },
  ...{ gte: "minimum", lte: "maximum" },
  ...{ minItems: "minItems", maxItems: "maxItems", unique: "uniqueItems" },
} as const;

/**
 * What a field of a request may hold, by the annotations of the contract. The verbs refuse what is beyond:
 * test/openapi/limits.test.ts holds both.
 *
 * @throws {Error} for a rule that there is no word for.
 */
export function limitsOf(field: DescField): JsonSchema {
  if (!hasOption(field, fieldRules)) return {};
  return toSchema(Object(toJson(FieldRulesSchema, getOption(field, fieldRules))));
}

/** Whether a request without the field, or with its zero value, is refused. */
export function isRequired(field: DescField): boolean {
  const { minimum = 0, minLength = 0, minItems = 0 } = limitsOf(field);
  return getOption(field, fieldRules).required || Math.max(minimum, minLength, minItems) > 0;
}

/** The fields of which exactly one is given, the others being absent or empty; none when there are no such fields. */
export function alternativesOf(desc: DescMessage): readonly string[] {
  return getOption(desc, messageRules).oneof.flatMap(({ fields, required }) => (required ? fields : []));
}

/** Of a field's rules: those of its type, by the type's name, beside those that any type can have. */
function toSchema({ required: _, ...byType }: Readonly<Record<string, unknown>>): JsonSchema {
  return Object.fromEntries(
    Object.values(byType).flatMap((rules) =>
      Object.entries(Object(rules)).flatMap(([name, value]): [string, unknown][] => {
        if (name === "items") return [["items", toSchema(Object(value))]];
        if (name === "const")
          return [
            ["minimum", value],
            ["maximum", value],
          ];
        const keyword = keywords[name];
        if (keyword === undefined) throw new Error(`no word of JSON Schema for the rule ${name}`);
        // 64-bit numbers are strings in protobuf's JSON.
        return [[keyword, typeof value === "string" && name !== "pattern" ? Number(value) : value]];
      }),
    ),
  );
}
