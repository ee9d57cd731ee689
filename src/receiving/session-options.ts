import type { Gap_Reason } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { PushQueue } from "../live/push-queue.ts";
import type { Door } from "../observe/door.ts";
import type { AcknowledgementListener } from "../traffic/first-acknowledgements.ts";
import type { Traffic } from "../traffic/traffic.ts";
import type { FeedSource } from "./feed/feed-item.ts";
import type { Replays } from "./replays.ts";
import type { MarkedItem } from "./window.ts";

/** How long a session waits for what, in milliseconds. */
export const pauses = {
  /** Before the inbox is read again after the broker did not answer. */
  readRetryMs: 1_000,
  /** The longest time between two looks at what is due: a day. */
  longestMs: 86_400_000,
  /** How long a read keeps pushes and heartbeats waiting. */
  turnMs: 100,
} as const;

/** What a session is opened with. */
export interface SessionOptions {
  readonly home: SessionHome;
  readonly deviceId: string;
  /** How many must-reach notifications may be unacknowledged. */
  readonly window: number;
  /** Where online pushes wait; closed at the end. */
  readonly pushes: PushQueue;
  /** When its token expires, in epoch milliseconds. Default: never. */
  readonly expiresAtMs?: number | undefined;
  /** How it is counted out. Default: it was not counted. */
  readonly exit?: () => void;
  /** Default: nobody, whose token is never revoked. */
  readonly opener?: SessionOpener;
}

/** Who has opened a session. */
export interface SessionOpener {
  /** The platform that the token names. Default 0: none. */
  readonly platformId?: number;
  /** Default: none, and it is counted under none. */
  readonly door?: Door;
  /** Whether the token that opened it has been revoked by now. */
  isRevoked(): boolean;
  /** Called when the session has ended, from whatever side. */
  onEnd?(): void;
}

/** What goes wrong for sessions while the broker does not answer: for all of them at once. */
export interface Failures {
  inboxUnread(err: unknown): void;
  groupsUnread(err: unknown): void;
  settledUntold(err: unknown): void;
}

/** What the sessions of a user have in common. */
export interface SessionHome extends FeedSource {
  /** How often a session that has nothing else to send sends a heartbeat, from one to the next, in milliseconds. */
  readonly heartbeatMs: number;
  readonly failures: Pick<Failures, "inboxUnread">;
  /** Counts what is sent. */
  readonly traffic: Traffic;
  /** Told of what is acknowledged. */
  readonly acknowledgements: AcknowledgementListener;
  /** Replays, what a session begins with, as {@link Replays.inTurn} does. */
  replayInTurn<T>(replay: () => Promise<T>): Promise<T>;
  /**
   * Prepares what has to be there besides the first page before a session is ready; undefined when it is.
   *
   * @throws NetworkError (90004) when the broker does not answer.
   */
  prepare(): Promise<void> | undefined;
  /** The device's stored cursor. */
  readCursor(deviceId: string): Promise<number | undefined>;
  /** Whether the connection to the broker is down. */
  isBrokerAway(): boolean;
  /** Told of each gap that a device is told of. */
  onGap(reason: Gap_Reason): void;
  /** A device has acknowledged what has marks. */
  onMarkedAcknowledged(deviceId: string, items: readonly MarkedItem[]): void;
  /** Looks whether what sessions were sent is settled by now: a signal may have been lost. */
  lookForSettled(): void;
}
