import { atMostEvery } from "./at-most-every.ts";

/** What `/readyz` answers. */
export interface Readiness {
  /** Whether this instance can keep its promise now. */
  readonly ready: boolean;
  /** What stands in the way, in sentences. */
  readonly problems: readonly string[];
  readonly broker: { readonly connected: boolean; readonly version: string };
  /** The durability of an acknowledged write: `FSYNCED`, `REPLICATED` or `BUFFERED`. */
  readonly durability: string;
  /** What an operator should know, though it stands in nobody's way. */
  readonly warnings: readonly string[];
  readonly sessions: number;
}

/** The state of this instance, for orchestrators and people. */
export interface Health {
  readiness(): Promise<Readiness>;
}

/** How long an answer is given again before it is looked up anew, in milliseconds: probes do not load the broker. */
const keptMs = 1_000;

/** Creates the health of an instance from a check that looks everything up. Once it is stopping, no answer is kept. */
export function createHealth(check: () => Promise<Readiness>, stopping: AbortSignal): Health {
  const readiness = atMostEvery(keptMs, check);
  return { readiness: () => (stopping.aborted ? check() : readiness()) };
}
