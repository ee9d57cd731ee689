import { setTimeout as delay } from "node:timers/promises";
import type { Broker } from "../broker/connect.ts";
import { isOvertaken, toRefusal } from "../broker/faults.ts";
import type { DirectGet, DirectMessage } from "../broker/reads/direct-get.ts";
import { readStoredAt, storedAt, write } from "../broker/write.ts";
import type { Clock } from "../clock.ts";
import { deadlineIn, leftUntil } from "../deadline.ts";

/** Where the broker keeps messages until their time. */
export interface Waiting {
  readonly stream: string;
  readonly filter: string;
}

export interface BringForwardDeps {
  readonly broker: Broker;
  readonly get: DirectGet;
  readonly clock: Clock;
}

/** How long one write may take, and how long what is due may take to leave, in milliseconds. */
const timeoutMs = { write: 2_000, leave: 5_000 } as const;

/** Pause before it is looked again whether what is due has left, in milliseconds. */
const lookMs = 5;

/**
 * Has the broker move what it keeps by the clock as it is after a jump. Resolves when what is due by now has left for
 * its target, in the order of its times.
 *
 * @throws NetworkError (90004) when the broker does not answer in time.
 */
export async function bringForward(deps: BringForwardDeps, places: readonly Waiting[]): Promise<void> {
  for (const place of places) await bringOne(deps, place);
}

async function bringOne({ broker, get, clock }: BringForwardDeps, { stream, filter }: Waiting): Promise<void> {
  const kept = (await get.under(stream, filter)).map((message) => ({ message, ...readStoredAt(message.header) }));
  for (const { message, atMs, target } of kept.toSorted((a, b) => a.atMs - b.atMs)) {
    const { subject, payload, sequence: replaces } = message;
    const headers = storedAt(atMs, target, clock.aheadMs());
    const stored = await write(broker, [{ subject, payload, headers, replaces }], timeoutMs.write);
    // It has left or was cancelled meanwhile.
    if (stored.kind === "refused" && !isOvertaken(stored)) throw toRefusal(stored);
    if (stored.kind === "stored" && atMs <= clock.now()) await left(get, stream, message);
  }
}

async function left(get: DirectGet, stream: string, { subject }: Pick<DirectMessage, "subject">): Promise<void> {
  const deadline = deadlineIn(timeoutMs.leave);
  while (leftUntil(deadline) > 0 && (await get.last(stream, subject)) !== undefined) await delay(lookMs);
}
