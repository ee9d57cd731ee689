import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type { Broker } from "../broker/connect.ts";
import { isGone } from "../broker/faults.ts";
import { askLeader, stateOf } from "../broker/reads/leader.ts";
import { deadlineIn, leftUntil } from "../deadline.ts";
import { failure } from "../errors.ts";
import { inboxStream, markerFilter, parseMarkerSubject } from "./layout.ts";
import type { Epoch, Lineage } from "./lineage.ts";

/** What is stored in an inbox stream where an epoch begins, and again before the retention removes it. */
export interface Marker {
  /** The number of the marker: the next is one higher, and only one writer gets it. */
  readonly number: number;
  readonly sequence: number;
  readonly storedAtMs: number;
  readonly lineage: Lineage;
}

/** Epochs that a store remembers; a position of an older one begins anew. */
const maxEpochs = 1_000;

const stored = z.object({
  id: z.string(),
  /** Where the epoch begins; 0: with the marker itself. */
  first: z.number(),
  earlier: z.array(z.tuple([z.string(), z.number()])),
});

/** The stored form of a marker of an epoch, of which `first` may be 0: it begins with the marker itself. */
export function encodeMarker({ id, first }: Epoch, earlier: Lineage): Uint8Array {
  const kept = earlier.slice(1 - maxEpochs).map(({ id, first }) => [id, first]);
  return Buffer.from(JSON.stringify({ id, first, earlier: kept }));
}

/**
 * Reads the newest marker of a partition, from the leader of its stream; undefined when there is none.
 *
 * @throws NetworkError (90004) when there is no such stream.
 */
export async function readMarker(broker: Broker, partition: number): Promise<Marker | undefined> {
  const stream = inboxStream(partition);
  try {
    const found = await askLeader(broker, stream, { last: markerFilter(partition) });
    return found && toMarker(found.subject, found.sequence, found.timeMs, found.payload);
  } catch (error) {
    throw isGone(error) ? failure("NetworkError", `${stream} is not there`, error) : error;
  }
}

/**
 * A replica that has just become the leader may answer before it has applied all that it has: only a stream that is behind
 * for this long, in milliseconds, is. It is asked again this often, in milliseconds.
 */
export const [behindMs, askAgainMs] = [1_500, 250];

interface NewestQuery {
  /** What was known of the stream before. */
  readonly known: { readonly marker: Marker | undefined; readonly newest: number };
  /** Whether the stream's last sequence is asked for; else it is taken to be the one that is known. */
  readonly counts: boolean;
  readonly isReplicated: boolean;
}

/**
 * Reads the newest marker of a partition and, before it, the last sequence of its stream, from the stream's leader. What is
 * behind what was known is of another store.
 *
 * @throws as {@link readMarker}, and what the client library throws.
 */
export async function readNewest(
  broker: Broker,
  partition: number,
  { known, counts, isReplicated }: NewestQuery,
): Promise<{ readonly last: number; readonly marker: Marker | undefined }> {
  const deadline = deadlineIn(isReplicated ? behindMs : 0);
  for (;;) {
    // Before the marker, so that all up to there are known with it.
    const last = counts ? (await stateOf(broker, inboxStream(partition))).last_seq : known.newest;
    const marker = await readMarker(broker, partition);
    const isBehind = last < known.newest || (marker?.sequence ?? 0) < (known.marker?.sequence ?? 0);
    if (!isBehind || leftUntil(deadline) < askAgainMs) return { last, marker };
    await delay(askAgainMs);
  }
}

/** Reads a stored marker. */
export function toMarker(subject: string, sequence: number, storedAtMs: number, payload: Uint8Array): Marker {
  const { id, first, earlier } = stored.parse(JSON.parse(Buffer.from(payload).toString("utf8")));
  const lineage = [...earlier.map(([id, first]) => ({ id, first })), { id, first: first || sequence }];
  return { number: parseMarkerSubject(subject), sequence, storedAtMs, lineage };
}
