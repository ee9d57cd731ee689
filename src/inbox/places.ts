import type { Broker } from "../broker/connect.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { createStreamState } from "../broker/reads/leader.ts";
import { everything } from "../broker/subjects.ts";
import type { Epochs } from "./epochs.ts";
import { inboxFilter, locateInbox, parseInboxPartition, parseInboxSubject } from "./layout.ts";
import { epochAt, type Lineage, type Position } from "./lineage.ts";

/** Where a device goes on. */
export interface Place extends Position {
  /** The store was replaced, and this is before where the device was. */
  readonly isStoreChanged: boolean;
}

/** What sequences mean in the inboxes. */
export interface Places {
  /** The sequence of a user's newest stored notification; 0 when there is none. */
  newestSequence(userId: string): Promise<number>;
  /**
   * The lowest sequence that a user's inbox may still hold: lower ones have been removed by the retention.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  oldestSequence(userId: string): Promise<number>;
  /** Whether a sequence can have been assigned to a notification of this user or of another. */
  isAssigned(userId: string, sequence: number): Promise<boolean>;
  /** Whether a sequence can be of this user: not above its newest notification, or of what has been removed since. */
  mayHold(userId: string, sequence: number): Promise<boolean>;
  /** Finds where a device is that was at a position: there, or in what is left of its epoch. */
  placeOf(userId: string, position: Position): Promise<Place>;
  /** The lineage of the user's partition, as far as it is known. */
  lineage(userId: string): Lineage;
}

/** Creates the places of the partition streams. */
export function createPlaces(broker: Broker, get: DirectGet, partitions: number, epochs: Epochs): Places {
  const state = createStreamState(broker);

  const locate = (userId: string) => locateInbox(userId, partitions);

  /** The sequence of a user's first stored item. */
  const firstOf = async (userId: string): Promise<number | undefined> => {
    const { user, partition, stream } = locate(userId);
    return (await get.next(stream, inboxFilter(partition, user), 1))?.sequence;
  };

  const newestSequence = async (userId: string): Promise<number> => {
    const { user, partition, stream } = locate(userId);
    await epochs.refresh(partition);
    return (await get.last(stream, inboxFilter(partition, user)))?.sequence ?? 0;
  };

  const oldestSequence = async (userId: string): Promise<number> => {
    const { stream } = locate(userId);
    const first = await get.next(stream, everything, 1);
    // An empty stream tells where it begins only in its state.
    return first?.sequence ?? (await state(stream)).first_seq;
  };

  const isAssigned = async (userId: string, sequence: number): Promise<boolean> => {
    const { partition } = locate(userId);
    await epochs.refresh(partition);
    // Only an instance that has just started, or a caller that makes sequences up, gets to look.
    if (sequence > epochs.newest(partition)) await epochs.know(partition, sequence);
    return sequence <= epochs.newest(partition);
  };

  const mayHold = async (userId: string, sequence: number): Promise<boolean> => {
    const { user, partition, stream } = locate(userId);
    await epochs.refresh(partition);
    await epochs.know(partition, sequence);
    const newest = await get.last(stream, inboxFilter(partition, user));
    if (sequence <= (newest?.sequence ?? 0)) return true;
    // Where a device goes on that was in an epoch that has ended.
    if (epochs.lineage(partition).some(({ first }) => first === sequence + 1)) return true;
    const found = await get.at(stream, sequence);
    if (found === undefined) return sequence <= epochs.newest(partition);
    // Who was asked for the newest lagged behind, and has it now.
    return parseInboxPartition(found.subject) !== undefined && parseInboxSubject(found.subject) === user;
  };

  const placeOf = async (userId: string, position: Position): Promise<Place> => {
    const { partition } = locate(userId);
    const { sequence } = position;
    await epochs.refresh(partition);
    await epochs.know(partition, sequence, position.epoch);
    if (epochs.placeOf(partition, position) < sequence) await epochs.look(partition);
    const place = epochs.placeOf(partition, position);
    const lineage = epochs.lineage(partition);
    if (place === sequence) return { epoch: epochAt(lineage, place), sequence, isStoreChanged: false };
    // A sequence of the user's own, since that is what the device acknowledges.
    const before = place > 0 ? Math.min(place, await newestSequence(userId)) : ((await firstOf(userId)) ?? 1) - 1;
    return { epoch: epochAt(epochs.lineage(partition), before), sequence: before, isStoreChanged: true };
  };

  const lineage = (userId: string): Lineage => epochs.lineage(locate(userId).partition);

  return { newestSequence, oldestSequence, isAssigned, mayHold, placeOf, lineage };
}
