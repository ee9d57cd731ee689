import { z } from "zod";
import type { Broker } from "../broker/connect.ts";
import { isGone } from "../broker/faults.ts";
import { askLeader } from "../broker/reads/leader.ts";
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

/** Reads a stored marker. */
export function toMarker(subject: string, sequence: number, storedAtMs: number, payload: Uint8Array): Marker {
  const { id, first, earlier } = stored.parse(JSON.parse(Buffer.from(payload).toString("utf8")));
  const lineage = [...earlier.map(([id, first]) => ({ id, first })), { id, first: first || sequence }];
  return { number: parseMarkerSubject(subject), sequence, storedAtMs, lineage };
}
