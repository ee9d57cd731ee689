import type { Generator } from "./generator.ts";
import type { Outcome } from "./passes.ts";

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
