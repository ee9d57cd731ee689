import { toRefusal } from "../broker/faults.ts";
import { storedAt } from "../broker/write.ts";
import type { Clock } from "../clock.ts";
import type { Publisher } from "./publish.ts";

/** A message that the broker keeps under `subject`, and stores under `target` when it is time. */
export interface LaterMessage {
  readonly subject: string;
  readonly target: string;
  readonly payload: Uint8Array;
  /** Epoch milliseconds. */
  readonly atMs: number;
}

/**
 * Has the broker keep a message until its time (ADR-51). One that it keeps under the subject already is replaced.
 *
 * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when it has no space.
 */
export async function storeLater(
  publisher: Pick<Publisher, "store">,
  clock: Clock,
  stream: string,
  { subject, target, payload, atMs }: LaterMessage,
): Promise<void> {
  for (let aheadMs: number | undefined; aheadMs !== clock.aheadMs(); ) {
    aheadMs = clock.aheadMs();
    const headers = storedAt(atMs, target, aheadMs);
    const stored = await publisher.store(stream, { subject, payload, headers });
    if (stored.kind === "refused") throw toRefusal(stored);
  }
}
