import { type DescEnum, type DescMessage, type JsonObject, type JsonValue, ScalarType } from "@bufbuild/protobuf";

/** The names of a message's fields, compiled once. */
interface FieldNames {
  /** Documented names, and the proto's, which protobuf-JSON takes as well. */
  readonly exact: ReadonlySet<string>;
  /** Documented names by what {@link fold} makes of them. */
  readonly folded: ReadonlyMap<string, string>;
  readonly longest: number;
  /** Fields that hold messages, or lists of them. */
  readonly messages: readonly { readonly name: string; readonly desc: DescMessage }[];
  /** Fields whose value is one of some, by its name in capitals and without what all of them begin with. */
  readonly enums: readonly { readonly name: string; readonly values: ReadonlyMap<string, string> }[];
  /** Fields whose value must be a number in JSON. */
  readonly int32s: readonly string[];
}

/** The most unknown names that are told, and how much of each, in characters. */
const maxUnknown = 10;
const maxUnknownLength = 64;

const compiled = new WeakMap<DescMessage, FieldNames>();

/**
 * Gives the fields of a body their documented names, at every depth, as Go's encoding/json matches them (decode.go,
 * `object`; fold.go): a key is the field with exactly that name, or else the one whose name it equals without regard to
 * case. Of several keys for one field the last in the body counts, exact or not, but for null, which changes nothing.
 * Two things are not as in Go: an object replaces an earlier one and is not merged with it, and a key that is repeated
 * exactly has the place of its first, where JSON.parse leaves it.
 *
 * A body with exact names costs one look-up a key and is not copied.
 *
 * @param unknown gets the keys that are no names, for people to read: printable ASCII, at most 10 of 64 characters.
 * An enum's value may be in any case, and without what all of its names begin with.
 *
 * @throws Error for a text that is no value of an enum, and for one in the place of a 32-bit number: protobuf-JSON takes "2" for 2; OpenIM does not. 64-bit
 * integers keep protobuf's leniency.
 */
export function matchFieldNames(desc: DescMessage, json: JsonValue, unknown: Set<string>, path = ""): JsonValue {
  if (!isObject(json)) return json;
  const names = namesOf(desc);
  const keys = Object.keys(json);
  const named = keys.every((key) => names.exact.has(key)) ? json : rename(names, json, unknown, path);
  for (const name of names.int32s) {
    if (typeof named[name] === "string") throw new Error(`${path}${name} must be a number`);
  }
  for (const { name, values } of names.enums) {
    const value = named[name];
    if (typeof value === "string") named[name] = findValue(values, value, path + name);
  }
  for (const { name, desc: inner } of names.messages) {
    const value = named[name];
    if (value === undefined) continue;
    const match = (item: JsonValue) => matchFieldNames(inner, item, unknown, `${path}${name}.`);
    named[name] = Array.isArray(value) ? value.map(match) : match(value);
  }
  return named;
}

/** protobuf-JSON ignores a text that is no value's name; here it is refused. */
function findValue(values: ReadonlyMap<string, string>, text: string, path: string): string {
  const found = text.length > 64 ? undefined : values.get(text.toUpperCase());
  if (found === undefined)
    throw new Error(`${path} must be one of ${[...values.keys()].slice(0, Math.floor(values.size / 2)).join(", ")}`);
  return found;
}

export function isObject(json: JsonValue): json is JsonObject {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

function rename(names: FieldNames, json: JsonObject, unknown: Set<string>, path: string): JsonObject {
  const renamed: JsonObject = {};
  for (const [key, value] of Object.entries(json)) {
    const name = findName(names, key);
    if (name === undefined) {
      if (unknown.size < maxUnknown)
        unknown.add(`${path}${key.slice(0, maxUnknownLength).replace(/[^!-+\--~]/g, "?")}`);
    } else if (value !== null || !Object.hasOwn(renamed, name)) {
      renamed[name] = value;
    }
  }
  return renamed;
}

function findName({ exact, folded, longest }: FieldNames, key: string): string | undefined {
  if (exact.has(key)) return key;
  return key.length > longest ? undefined : folded.get(fold(key));
}

/** As Go's folding, for names in ASCII: besides upper case only ſ and the Kelvin sign have an ASCII letter as theirs. */
function fold(name: string): string {
  return name.toLowerCase().replaceAll("ſ", "s");
}

function namesOf(desc: DescMessage): FieldNames {
  const known = compiled.get(desc);
  if (known !== undefined) return known;
  const documented = desc.fields.map(({ jsonName }) => jsonName);
  const names: FieldNames = {
    exact: new Set([...documented, ...desc.fields.map(({ name }) => name)]),
    folded: new Map(documented.map((name) => [fold(name), name])),
    longest: Math.max(0, ...documented.map((name) => name.length)),
    messages: desc.fields.flatMap(({ jsonName: name, fieldKind, message }) =>
      message === undefined || fieldKind === "map" ? [] : [{ name, desc: message }],
    ),
    enums: desc.fields.flatMap(({ jsonName: name, fieldKind, enum: desc }) =>
      fieldKind === "enum" ? [{ name, values: valuesOf(desc) }] : [],
    ),
    int32s: desc.fields.flatMap(({ jsonName, fieldKind, scalar }) =>
      fieldKind === "scalar" && scalar === ScalarType.INT32 ? [jsonName] : [],
    ),
  };
  compiled.set(desc, names);
  return names;
}

function valuesOf({ values, sharedPrefix = "" }: DescEnum): ReadonlyMap<string, string> {
  const short = values.map(({ name }) => [name.slice(sharedPrefix.length).toUpperCase(), name] as const);
  const full = values.map(({ name }) => [name.toUpperCase(), name] as const);
  // An empty text is as good as none, as OpenIM has it.
  const [unset] = values.filter(({ number }) => number === 0).map(({ name }) => ["", name] as const);
  return new Map([...short, ...full, ...(unset === undefined ? [] : [unset])]);
}
