import { hash } from "node:crypto";
import type { Caller } from "./caller.ts";

interface Entry {
  readonly caller: Caller;
  readonly keptUntilMs: number;
}

/**
 * The callers of tokens whose signature was verified lately. It spares the hot path the signature (about 2 µs
 * instead of 50 µs for HS256), nothing else: whoever asks must still check expiry and revocation.
 *
 * Of `max` callers, those not used for the longest time are forgotten first. A key that the identity provider withdraws
 * is accepted for `maxAgeMs`, after the 10 min for which jose trusts a fetched key set.
 */
export function createVerifiedTokens({ max = 10_000, maxAgeMs = 600_000 } = {}) {
  // Two generations, and not one Map whose entry every use moves to the end: a Map keeps what was deleted in
  // its hash chain until it grows, so moving one busy token among 10,000 was measured at 65 µs a time.
  let recent = new Map<string, Entry>();
  let older = new Map<string, Entry>();

  const keep = (key: string, entry: Entry) => {
    if (recent.size >= max / 2) {
      older = recent;
      recent = new Map();
    }
    recent.set(key, entry);
  };

  return {
    get(token: string): Caller | undefined {
      const key = toKey(token);
      let entry = recent.get(key);
      if (entry === undefined) {
        entry = older.get(key);
        if (entry !== undefined) keep(key, entry);
      }
      return entry !== undefined && entry.keptUntilMs > Date.now() ? entry.caller : undefined;
    },
    set: (token: string, caller: Caller) => keep(toKey(token), { caller, keptUntilMs: Date.now() + maxAgeMs }),
  };
}

/** A digest: no token stays in memory, and an entry has the same size whatever the token's. */
function toKey(token: string): string {
  return hash("sha256", token, "base64url");
}
