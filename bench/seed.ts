import type { Generator } from "./generator.ts";
import type { Outcome } from "./passes.ts";
import type { Bench } from "./row.ts";

/** Notifications in a batch, at most. */
const batch = 1_000;

interface Users {
  readonly prefix: string;
  readonly from?: number;
  readonly count: number;
}

/** Stores `total` notifications for users, in turns: each gets as many. */
export async function seedInboxes(load: Generator, address: string, to: Users, total: number): Promise<void> {
  const size = Math.min(batch, total);
  const pace = { inFlight: 2, calls: Math.ceil(total / size) };
  const sends = await load.run<Outcome>("send", { address, connections: 2, to, level: 2, batch: size, pace });
  if (sends.errors) throw new Error(`${sends.errors} batches failed, the first: ${sends.firstError}`);
}

/** Notifications between two lines about a large store; as many as it has users, so that each still gets as many. */
const step = 100_000;

/** How long a large store may take to be filled, in milliseconds. */
const maxFillMs = 600_000;

/** Fills a store with a notification for each of 100,000 users at a time. Resolves to whether there was time for `total`. */
export async function fillStore({ load, say }: Bench, address: string, total: number): Promise<boolean> {
  const startedAt = performance.now();
  for (let stored = 0; stored < total; ) {
    if (performance.now() - startedAt > maxFillMs) return false;
    const next = Math.min(step, total - stored);
    await seedInboxes(load, address, { prefix: "kept", count: step }, next);
    stored += next;
    if (total > step) say(`stored ${stored} of ${total}, in ${Math.round((performance.now() - startedAt) / 1_000)} s`);
  }
  return true;
}
