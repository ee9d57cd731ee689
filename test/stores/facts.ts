import type { JsonValue } from "@bufbuild/protobuf";

/** What was asked of the version that filled a store, and what it said. */
export interface Answer {
  readonly path: string;
  readonly body: object;
  readonly token: string;
  readonly answer: { readonly errCode: number; readonly data?: Record<string, unknown> };
}

/** What the version that filled a store said of it: `facts.json`, beside the store. */
export interface StoreFacts {
  readonly version: string;
  /** What its tokens are signed with. */
  readonly secret: string;
  readonly tokens: Readonly<Record<"admin" | "alice" | "bob" | "dave", string>>;
  /** How far alice's devices have acknowledged. */
  readonly cursors: Readonly<Record<"phone" | "laptop", number>>;
  /** What a device of alice's without a cursor was shown. */
  readonly shown: Record<string, JsonValue>[];
  readonly answers: readonly Answer[];
}

/** How long tokens of a store are valid, in milliseconds: for ever, as what is in it. */
export const tokenTtlMs = 36_500 * 86_400_000;

/** With what settings a store is filled, and has to be used: nothing in it gets too old for its test. */
export function settingsOf({ secret }: Pick<StoreFacts, "secret">): Record<string, string> {
  return { WORKERS: "1", TOKEN_SECRET: secret, TOKEN_TTL: "36500d", RETENTION: "36500d", HEARTBEAT: "1s" };
}
