import type { Marker } from "./epoch-marker.ts";
import { inboxStream } from "./layout.ts";
import { endOf, type Lineage, type Position } from "./lineage.ts";

/** What an instance knows of the epochs of one inbox stream. */
export interface Partition {
  readonly number: number;
  readonly stream: string;
  lineage: Lineage;
  marker: Marker | undefined;
  newest: number;
  /** Epochs that a look has not found in the lineage. */
  readonly strangers: Set<string>;
  /** All markers up to this sequence are known. */
  knownThrough: number;
  /** The server process through which inboxes may be written. */
  openFor: string | undefined;
  replacements: number;
  /** Something was written after the stream was replaced and before we knew. */
  inDoubt: boolean;
  /** Connections over which the lineage was looked at, by the info that the client library makes for each. */
  readonly seenOver: WeakSet<object>;
  lastServer: string | undefined;
  lookedAtMs: number;
  /** Looks take turns; those who ask meanwhile share the next. */
  turn: Promise<unknown>;
  readonly next: Map<"look" | "count", Promise<void>>;
  /** The beginning of an epoch that is under way, for all writes that wait for it. */
  opening: Promise<void> | undefined;
}

/** Nothing is known yet. */
export function createPartition(number: number): Partition {
  const none = { lineage: [], marker: undefined, newest: 0, replacements: 0, openFor: undefined, inDoubt: false };
  const never = { seenOver: new WeakSet(), lastServer: undefined, lookedAtMs: 0, turn: Promise.resolve() };
  return {
    number,
    stream: inboxStream(number),
    knownThrough: 0,
    ...none,
    ...never,
    strangers: new Set(),
    next: new Map(),
    opening: undefined,
  };
}

/** Takes what the newest marker says. */
export function adopt(partition: Partition, marker: Marker | undefined): void {
  partition.marker = marker;
  partition.lineage = marker?.lineage ?? [];
  partition.strangers.clear();
  if (marker !== undefined) partition.newest = Math.max(partition.newest, marker.sequence);
}

/** Whether the lineage does not have an epoch. */
export function isStrange({ lineage }: Partition, epoch: string): boolean {
  return endOf(lineage, epoch) === 0;
}

/** Whether a position can have been assigned, and is not known to be. */
export function isMissing(partition: Partition, { epoch, sequence }: Position): boolean {
  const { lineage, newest, strangers } = partition;
  const canBe = isStrange(partition, epoch) ? !strangers.has(epoch) : sequence <= endOf(lineage, epoch);
  return canBe && sequence > newest;
}
