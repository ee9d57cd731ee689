import type { Clock } from "../../clock.ts";
import type { DeviceCursor } from "../../cursors/device-cursors.ts";
import type { Gap_Reason } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { InboxEntry, ItemMarks } from "../../inbox/items.ts";
import type { InboxPage, ReadWay } from "../../inbox/read-page.ts";
import type { TimerWheel } from "../../timer-wheel.ts";

/** What a feed asks its source. */
export interface ReadRequest {
  readonly after: number;
  /** The epoch of `after`. Default: before the first. */
  readonly epoch?: string;
  readonly limit: number;
  readonly wanted: number;
  readonly knownUntilMs: number | undefined;
  /** Default: by the index. */
  readonly way?: ReadWay;
}

/** What a device is to be told next from its inbox; `sequence` is what it acknowledges. */
export type FeedItem = InboxEntry | FeedGap | FeedSettled;

/** A notification that another device has acknowledged for the user, in whose place the device is told so. */
export interface FeedSettled {
  readonly kind: "settled";
  readonly sequence: number;
  readonly epoch: string;
  readonly marks: ItemMarks;
}

/** A range that the device is not sent. */
export interface FeedGap {
  readonly kind: "gap";
  readonly from: number;
  readonly sequence: number;
  readonly epoch: string;
  readonly reason: Gap_Reason;
}

/** Where a feed reads. */
export interface FeedSource {
  /** Reads what follows `after`; `wanted` is the sequence that is known to be there, 0 when none is. */
  read(request: ReadRequest): Promise<InboxPage>;
  /** The lowest sequence that the inbox may still hold; lower ones are gone. */
  oldestSequence(): Promise<number>;
  /** The cursors of all devices of the user, as they are stored now. */
  readCursors(): Promise<readonly DeviceCursor[]>;
  readonly timers: TimerWheel;
  readonly clock: Pick<Clock, "now">;
}

/** Whose feed it is. */
export interface FeedOwner {
  /** The device: what is not for it is passed over. */
  readonly deviceId: string;
  /** There may be more to load. */
  onMore(): void;
  /** The store was replaced, and what was taken from it is not all there: the feed is at its end. */
  onStoreChanged(): void;
}
