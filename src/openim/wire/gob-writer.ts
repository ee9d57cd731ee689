/** The types of fields that are written, by gob's ids. */
const typeIds = { int: 2, bytes: 5, string: 6 } as const;

/** The type of a field. */
export type GobType = keyof typeof typeIds;

/** The fields of a struct, with the type of each. */
export type GobFields = Readonly<Record<string, GobType>>;

/** Values for the fields of a struct; what is zero is left out. */
export type GobValues<F extends GobFields> = {
  readonly [K in keyof F]: F[K] extends "int" ? number : F[K] extends "bytes" ? Uint8Array : string;
};

/** The id of the first type that a Go program defines. Any would do. */
const structId = 65;

/** Compiles what writes structs as encoding/gob of Go does, each as a stream of its own: the definition, and the value. */
export function compileGobWriter<F extends GobFields>(name: string, fields: F): (values: GobValues<F>) => Buffer {
  const types = Object.entries(fields);
  const definition = toMessage([
    ...writeInt(-structId),
    // wireType{StructT: structType{CommonType: {Name, Id}, Field: [{Name, Id}…]}}: deltas of fields, and 0 at an end.
    ...[3, 1, 1, ...writeText(name), 1, ...writeInt(structId), 0, 1, ...writeUint(types.length)],
    ...types.flatMap(([field, type]) => [1, ...writeText(field), 1, ...writeInt(typeIds[type]), 0]),
    ...[0, 0],
  ]);

  return (values) => {
    const parts: (Buffer | Uint8Array)[] = [Buffer.from(writeInt(structId))];
    let last = 0;
    for (const [index, [field, type]] of types.entries()) {
      const value: number | string | Uint8Array = values[field as keyof F];
      if (value === 0 || (typeof value !== "number" && value.length === 0)) continue;
      const bytes = typeof value === "string" ? Buffer.from(value) : value;
      const number = typeof bytes === "number" ? writeInt(bytes) : writeUint(bytes.length);
      parts.push(Buffer.from([index + 1 - last, ...number]));
      if (type !== "int" && typeof bytes !== "number") parts.push(bytes);
      last = index + 1;
    }
    parts.push(Buffer.from([0]));
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    return Buffer.concat([definition, Buffer.from(writeUint(length)), ...parts]);
  };
}

function toMessage(body: readonly number[]): Buffer {
  return Buffer.from([...writeUint(body.length), ...body]);
}

function writeText(text: string): number[] {
  const bytes = Buffer.from(text);
  return [...writeUint(bytes.length), ...bytes];
}

/** Below 128 one byte; else how many bytes follow, as a negative number, and those, the highest first. */
function writeUint(value: number): number[] {
  if (value < 128) return [value];
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [256 - bytes.length, ...bytes];
}

function writeInt(value: number): number[] {
  return writeUint(value < 0 ? -value * 2 - 1 : value * 2);
}
