import { type DescField, type DescMessage, type JsonValue, ScalarType } from "@bufbuild/protobuf";
import { isObject } from "./field-names.ts";

/** No 64-bit integer has more characters, with its sign and room for zeros before it. */
const maxLength = 40;

const longScalars: ReadonlySet<ScalarType> = new Set([
  ScalarType.INT64,
  ScalarType.UINT64,
  ScalarType.SINT64,
  ScalarType.FIXED64,
  ScalarType.SFIXED64,
]);

/**
 * Refuses texts in the place of 64-bit integers that are far too long for one, before protobuf makes them numbers: what
 * BigInt takes grows with the square of the length, 5 s for 8 MB.
 *
 * @throws Error that names the field.
 */
export function refuseLongIntegers(desc: DescMessage, json: JsonValue): void {
  if (!isObject(json)) return;
  for (const field of desc.fields) {
    for (const value of [json[field.jsonName], json[field.name]].flat()) {
      if (field.message !== undefined && value !== undefined) refuseLongIntegers(field.message, value);
      else if (typeof value === "string" && value.length > maxLength && isLong(field)) {
        throw new Error(`${field.jsonName}: ${value.slice(0, maxLength)}… is out of range`);
      }
    }
  }
}

function isLong({ scalar }: DescField): boolean {
  return scalar !== undefined && longScalars.has(scalar);
}
