import { judge } from "../broker/faults.ts";
import { maxBatchMessages, type Write } from "../broker/write.ts";
import { bytesOf, maxBatchBytes, minBatchWrites } from "./group-commit.ts";
import type { Publisher } from "./publish.ts";

/** Writes of one stream that are stored together or not at all. */
export interface Unit {
  readonly stream: string;
  readonly writes: readonly Write[];
}

/** What came of a {@link Unit}. */
export type UnitStored =
  | {
      readonly kind: "stored";
      /** Of its last write; those before have the sequences before. */
      readonly sequence: number;
    }
  /** It is to be stored alone: then it is known what of it is in the way, or that an earlier try has stored it. */
  | { readonly kind: "alone" }
  /** It may be stored. */
  | { readonly kind: "failed"; readonly error: unknown };

/**
 * Stores units that share nothing, in as few atomic batches as a stream takes them, and has an outcome for each, in
 * their order. Of one stream none is stored before those in front of it: what is behind a batch that was refused is to be
 * stored alone, and what is behind one that was not answered has failed with it. So few that a batch is dearer are for
 * the caller as well.
 */
export async function storeInOrder(
  publisher: Pick<Publisher, "storeAll">,
  units: readonly Unit[],
): Promise<readonly UnitStored[]> {
  const outcomes: UnitStored[] = units.map(() => ({ kind: "alone" }));
  const storeStream = async (indices: readonly number[]): Promise<void> => {
    for (let start = 0; start < indices.length; ) {
      const { writes, end } = cutBatch(units, indices, start);
      if (writes.length < minBatchWrites) return;
      const stored = await publisher.storeAll(writes).catch((error: unknown) => ({ kind: "failed", error }) as const);
      if (stored.kind === "refused") return;
      if (stored.kind === "failed") {
        // One that the broker would not take does not speak for the others.
        if (judge(stored.error).kind === "retry") for (const index of indices.slice(start)) outcomes[index] = stored;
        return;
      }
      // An atomic batch has sequences without a hole.
      let sequence = stored.sequence - writes.length;
      for (const index of indices.slice(start, end)) {
        sequence += units[index]?.writes.length ?? 0;
        outcomes[index] = { kind: "stored", sequence };
      }
      start = end;
    }
  };
  const streams = Map.groupBy(units.keys(), (index) => units[index]?.stream);
  await Promise.all([...streams.values()].map(storeStream));
  return outcomes;
}

/** The writes of the next batch, which begins with the unit at `start` and ends before the one at `end`. */
function cutBatch(units: readonly Unit[], indices: readonly number[], start: number) {
  const batch: Write[] = [];
  let bytes = 0;
  let end = start;
  for (; end < indices.length; end++) {
    const { writes = [] } = units[indices[end] ?? -1] ?? {};
    bytes += bytesOf(writes);
    if (end > start && (bytes > maxBatchBytes || batch.length + writes.length > maxBatchMessages)) break;
    batch.push(...writes);
  }
  return { writes: batch, end };
}
