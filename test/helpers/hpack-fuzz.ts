import fc from "fast-check";
import { staticNames, staticValues } from "../../src/http2/hpack/static-table.ts";
import { type Representation, TestEncoder } from "./hpack.ts";

/** What a peer does next with its encoder. */
export type Step =
  | { readonly do: "resize"; readonly size: number }
  | { readonly do: "block"; readonly fields: readonly (readonly [name: string, value: string, how: Representation])[] }
  | { readonly do: "repeat" };

export interface EncodedBlock {
  readonly block: Buffer;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly table: readonly (readonly [name: string, value: string])[];
}

export const staticTable = staticNames.slice(1).map((name, at): [string, string] => [name, staticValues[at + 1] ?? ""]);

const name = fc.oneof(
  fc.constantFrom(...staticNames.slice(15)),
  fc.constantFrom("te", "grpc-timeout", "user-agent", "token", "operationid"),
  fc.string({ unit: fc.constantFrom(..."abcdefghijklmnopqrstuvwxyz0123456789-_"), minLength: 1, maxLength: 50 }),
);
const value = fc.oneof(
  fc.constantFrom("trailers", "application/grpc", "", "5S", "gzip, deflate"),
  // Without what must not stand in a value (RFC 9110, 5.5), nor spaces at its ends.
  fc.string({ unit: fc.constantFrom(..."aAeEzZ09!~=/{}[]\u0080\u00ff"), maxLength: 120 }),
  fc.nat(9).map((length) => "x".repeat(length * 500)),
);
const how: fc.Arbitrary<Representation> = fc.record({
  kind: fc.constantFrom("indexed", "incremental", "incremental", "not-indexed", "never-indexed"),
  isNameIndexed: fc.boolean(),
  isNameCompressed: fc.boolean(),
  isValueCompressed: fc.boolean(),
});

export const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 1, arbitrary: fc.record({ do: fc.constant("resize" as const), size: fc.nat(4_096) }) },
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant("block" as const),
        fields: fc.array(fc.tuple(name, value, how), { maxLength: 12 }),
      }),
    },
    { weight: 3, arbitrary: fc.constant({ do: "repeat" as const }) },
  ),
  { minLength: 1, maxLength: 8 },
);

/** The blocks of a connection. A block is repeated as a peer would: with indexes for what is in its table by now. */
export function encodeBlocks(all: readonly Step[]): EncodedBlock[] {
  const encoder = new TestEncoder(staticTable, 4_096);
  const blocks: EncodedBlock[] = [];
  let sizes: number[] = [];
  let last: readonly (readonly [name: string, value: string, how: Representation])[] = [];
  for (const step of all) {
    if (step.do === "resize") {
      sizes.push(step.size);
      continue;
    }
    // Of several, the lowest and the last one are told (RFC 7541, 4.2).
    const lowest = Math.min(...sizes);
    const told = sizes.at(-1) === lowest ? [lowest] : [lowest, ...sizes.slice(-1)];
    const updates = sizes.length === 0 ? [] : told.map((size) => encoder.resize(size));
    if (step.do === "block") last = step.fields;
    const indexedFirst = step.do === "repeat";
    const parts = last.map(([name, value, how]) =>
      encoder.encode(name, value, indexedFirst ? { ...how, kind: "indexed" } : how),
    );
    blocks.push({
      block: Buffer.concat([...updates, ...parts]),
      fields: last.map(([name, value]) => [name, value]),
      table: [...encoder.table],
    });
    sizes = [];
  }
  return blocks;
}

/** A way to damage bytes: the same one every time that it is used, and often none. */
export const mutations: fc.Arbitrary<(bytes: Buffer) => Buffer> = fc
  .array(
    fc.record({
      kind: fc.constantFrom("flip", "set", "insert", "remove", "cut", "repeat"),
      at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
      byte: fc.oneof(fc.nat(255), fc.constantFrom(0x00, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xbe, 0xff)),
    }),
    { maxLength: 3 },
  )
  .map((all) => (bytes) => all.reduce(mutate, bytes));

function mutate(bytes: Buffer, { kind, at, byte }: { kind: string; at: number; byte: number }): Buffer {
  const place = Math.floor(at * bytes.length);
  const [head, tail] = [bytes.subarray(0, place), bytes.subarray(place)];
  if (kind === "flip") return Buffer.concat([head, Buffer.of((tail[0] ?? 0) ^ (1 << (byte & 7))), tail.subarray(1)]);
  if (kind === "set") return Buffer.concat([head, Buffer.of(byte), tail.subarray(1)]);
  if (kind === "insert") return Buffer.concat([head, Buffer.of(byte), tail]);
  if (kind === "remove") return Buffer.concat([head, tail.subarray(1 + (byte & 3))]);
  if (kind === "cut") return head;
  return Buffer.concat([head, tail.subarray(0, byte), tail]);
}
