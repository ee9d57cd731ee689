import { hash } from "node:crypto";
import type { Caller } from "./caller.ts";

interface Entry {
  readonly caller: Caller;
  readonly keptUntilMs: number;
}

/** Tokens that are kept as they came, at most: with 8 KiB each, 2 MiB. */
const maxBusy = 256;

/** How long they are, in milliseconds. */
const busyMs = 10_000;

/**
 * The callers of tokens whose signature was verified lately. It spares the hot path the signature (50 µs for HS256),
 * nothing else: whoever asks must still check expiry and revocation.
 *
 * They are kept by a digest of the token: no token stays in memory, and an entry has the same size whatever the token's.
 * The digest costs 2 µs, which is much for the few tokens that most calls come with, so these are kept as they came too,
 * all of them for 10 s at most: about as long as their requests have them in memory anyway.
 *
 * Of `max` callers, those not used for the longest time are forgotten first. A key that the identity provider withdraws
 * is accepted for `maxAgeMs`, after the 10 min for which jose trusts a fetched key set.
 */
export function createVerifiedTokens({ max = 10_000, maxAgeMs = 600_000 } = {}) {
  // Two generations, and not one Map whose entry every use moves to the end: a Map keeps what was deleted in
  // its hash chain until it grows, so moving one busy token among 10,000 was measured at 65 µs a time.
  let recent = new Map<string, Entry>();
  let older = new Map<string, Entry>();
  /** By the token itself. */
  const busy = new Map<string, Entry>();
  let isForgetting = false;

  const forget = () => {
    busy.clear();
    isForgetting = false;
  };

  const keep = (key: string, entry: Entry) => {
    if (recent.size >= max / 2) {
      older = recent;
      recent = new Map();
      // So that those in use are found there again, and go into the new one.
      busy.clear();
    }
    recent.set(key, entry);
  };

  const keepBusy = (token: string, entry: Entry) => {
    if (busy.size >= maxBusy) busy.clear();
    busy.set(token, entry);
    if (isForgetting) return;
    isForgetting = true;
    setTimeout(forget, busyMs).unref();
  };

  const find = (token: string): Entry | undefined => {
    const key = toKey(token);
    let entry = recent.get(key);
    if (entry === undefined) {
      entry = older.get(key);
      if (entry !== undefined) keep(key, entry);
    }
    if (entry !== undefined) keepBusy(token, entry);
    return entry;
  };

  return {
    get(token: string): Caller | undefined {
      const entry = busy.get(token) ?? find(token);
      return entry !== undefined && entry.keptUntilMs > Date.now() ? entry.caller : undefined;
    },
    set(token: string, caller: Caller): void {
      busy.delete(token);
      keep(toKey(token), { caller, keptUntilMs: Date.now() + maxAgeMs });
    },
  };
}

function toKey(token: string): string {
  return hash("sha256", token, "base64url");
}
