/** What one check has found. */
export interface Finding {
  readonly level: "ok" | "warning" | "problem";
  /** What was looked at. */
  readonly check: string;
  readonly found: string;
  /** What to do about it. Undefined for what is well. */
  readonly todo?: string | undefined;
}

export const ok = (check: string, found: string): Finding => ({ level: "ok", check, found });

export const warning = (check: string, found: string, todo: string): Finding => ({
  level: "warning",
  check,
  found,
  todo,
});

export const problem = (check: string, found: string, todo: string): Finding => ({
  level: "problem",
  check,
  found,
  todo,
});

/** How far two clocks may be apart, in milliseconds: that a time in whole seconds is read to. */
const maxSkewMs = 2_000;

/** From here on, tokens that one machine has just made are refused by another (1504), in milliseconds. */
const harmfulSkewMs = 60_000;

/** Compares another clock with this machine's; `askedMs` and `answeredMs` are by this one. */
export function judgeClock(check: string, theirsMs: number, askedMs: number, answeredMs: number): Finding {
  const ahead = theirsMs < askedMs ? theirsMs - askedMs : Math.max(0, theirsMs - answeredMs);
  const found = `${Math.round(ahead / 100) / 10} s from this machine's`;
  if (Math.abs(ahead) <= maxSkewMs) return ok(check, found);
  const todo = "Have all machines set their clocks by NTP.";
  return Math.abs(ahead) < harmfulSkewMs ? warning(check, found, todo) : problem(check, found, todo);
}

/** Judges how full something is, by its free part. */
export function judgeRoom(check: string, used: number, room: number, todo: string, what = "bytes"): Finding {
  const found = `${used} of ${room} ${what} (${Math.round((100 * used) / Math.max(room, 1))} %)`;
  if (used < 0.8 * room) return ok(check, found);
  return used < 0.95 * room ? warning(check, found, todo) : problem(check, found, todo);
}

/** What to do about a stream that is nearly full: one that the service bounds by `setting`, or the broker. */
export function makeRoom(setting?: string): string {
  return setting === undefined
    ? "A full one refuses or evicts: let devices catch up, or set more MUSTREACH_MAX_STORE_BYTES."
    : `A full one takes no more (90101), and loses nothing: set more ${setting}.`;
}

/** What to do about a stream that has nearly as many messages as it may. */
export const tooManyMessages = "A full one takes no more (90101).";

/** 0 where all is well, 1 with warnings, 2 with problems. */
export function exitCodeOf(findings: readonly Finding[]): 0 | 1 | 2 {
  if (findings.some(({ level }) => level === "problem")) return 2;
  return findings.some(({ level }) => level === "warning") ? 1 : 0;
}
