import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import type { Logger } from "pino";
import {
  type Gap_Reason,
  type SubscribeResponse,
  SubscribeResponseSchema,
} from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Place } from "../inbox/places.ts";
import { createFeed, type FeedItem, type OldestSequence, type ReadInbox } from "./feed.ts";
import type { Push, PushQueue } from "./push-queue.ts";

/** Pause before the inbox is read again after the broker did not answer, in milliseconds. */
const readRetryMs = 1_000;

/** How long a read keeps pushes and heartbeats waiting, in milliseconds. */
const maxTurnMs = 100;

export interface SessionOptions {
  readonly deviceId: string;
  /** Everything up to this is not sent. */
  readonly resume: Place;
  /** How many must-reach notifications may be unacknowledged. */
  readonly window: number;
  /** How often a session that has nothing else to send sends a heartbeat, from one to the next, in milliseconds. */
  readonly heartbeatMs: number;
  /** Where online pushes wait; closed at the end. */
  readonly pushes: PushQueue;
  readonly read: ReadInbox;
  readonly oldestSequence: OldestSequence;
  /** The device's stored cursor. */
  readonly readCursor: () => Promise<number | undefined>;
  /** Whether the connection to the broker is down. */
  readonly isBrokerAway: () => boolean;
  /** Told of each gap that the device is told of. */
  readonly onGap: (reason: Gap_Reason) => void;
  readonly log: Logger;
}

type EventInit = NonNullable<MessageInitShape<typeof SubscribeResponseSchema>["event"]>;

/** Why a session ends: after one more event, with an error, or both. */
export interface SessionEnd {
  readonly last?: EventInit;
  readonly error?: ConnectError;
}

/** One live stream of one device. */
export interface Session {
  readonly deviceId: string;
  /**
   * The session's events, from `ready` on. They are pulled: nothing is read from the store before the device has
   * taken what came before, and at most a page of it is in memory.
   *
   * @throws NetworkError (90004) when the first read fails, and the error of {@link end}.
   */
  events(): AsyncGenerator<SubscribeResponse, void, undefined>;
  /** A notification with this sequence was stored. */
  hint(sequence: number): void;
  /** A hint may have been lost: look into the inbox. */
  reconcile(): void;
  /** Queues an online push. */
  push(push: Push): void;
  /** The device has handled everything up to this sequence; false when that is not news. */
  acknowledge(sequence: number): boolean;
  /** The highest sequence that {@link acknowledge} was told; 0 before. */
  acknowledged(): number;
  /** Everything up to this sequence was sent, or was known to be acknowledged when the session began. */
  sentThrough(): number;
  /** Ends the session. The first call counts. */
  end(reason: SessionEnd): void;
}

/** Creates a session; it does nothing until its events are pulled. */
export function createSession(options: SessionOptions): Session {
  const { deviceId, resume: from, window, pushes, log } = options;
  /** Sequences sent and not acknowledged, oldest first. */
  const unacknowledged: number[] = [];
  let acknowledged = 0;
  let ended: SessionEnd | undefined;
  let changed = false;
  let resume = () => {};
  const wake = () => {
    changed = true;
    resume();
  };
  const { read, oldestSequence } = options;
  const onStoreChanged = () => end(storeChanged());
  const feed = createFeed({ resume: from, read, oldestSequence, onMore: wake, onStoreChanged });
  let sentThrough = from.sequence;

  /** Waits until something has changed since the last look; true when the time was up first. */
  const idle = async (ms: number): Promise<boolean> => {
    if (changed) return false;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, ms), true);
      resume = () => {
        clearTimeout(timer);
        resolve(false);
      };
    });
  };

  /** Whether a page is being read, or a read that failed is not to be repeated yet. */
  let isLoading = false;
  let hasReadFailed = false;
  let retryNow = () => {};
  /** Begins to read the next page, unless there is none or it is under way. Never rejects. */
  const load = (): Promise<void> | undefined => {
    if (isLoading || !feed.mayHaveMore()) return undefined;
    isLoading = true;
    const end = () => {
      isLoading = false;
      wake();
    };
    const done = () => {
      hasReadFailed = false;
      end();
    };
    const failed = (err: unknown) => {
      hasReadFailed = true;
      log.warn({ err, deviceId }, "cannot read the inbox now; the session waits");
      const timer = setTimeout(() => retryNow(), readRetryMs).unref();
      retryNow = () => {
        clearTimeout(timer);
        retryNow = () => {};
        end();
      };
    };
    // Of the window, not of what is left of it: a device that acknowledges one by one does not cost a read for each.
    return feed.load(window).then(done, failed);
  };

  const nextStored = async (): Promise<FeedItem | undefined> => {
    if (unacknowledged.length >= window) return undefined;
    const item = feed.take();
    const reading = item === undefined ? load() : undefined;
    if (reading === undefined) return item;
    // Its turn is kept for it, but pushes and heartbeats do not wait for a broker that does not answer.
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, maxTurnMs);
      void reading.then(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    return feed.take();
  };

  return {
    deviceId,

    async *events() {
      await feed.load(window);
      const { sequence: resumeSequence, epoch } = from;
      // One that is to begin anew, as the store has, would tell what is not so.
      if (ended?.last === undefined) {
        const pending = BigInt(feed.pending());
        yield toEvent({
          case: "ready",
          value: { resumeSequence: BigInt(resumeSequence), pending, deviceId, epoch },
        });
      }
      // The two kinds take turns, so that a flood of one does not hold back the other.
      let pushesFirst = true;
      let heartbeatAtMs = Date.now() + options.heartbeatMs;
      while (ended === undefined) {
        changed = false;
        pushesFirst = !pushesFirst;
        const item = pushesFirst && !pushes.isEmpty() ? undefined : await nextStored();
        if (item !== undefined) {
          unacknowledged.push(item.sequence);
          sentThrough = item.sequence;
          if (item.kind === "gap") options.onGap(item.reason);
          yield toStoredEvent(item);
          continue;
        }
        const push = pushes.take();
        if (push !== undefined) {
          yield toEvent({ case: "notification", value: push });
          continue;
        }
        if (!(await idle(heartbeatAtMs - Date.now()))) continue;
        heartbeatAtMs = Date.now() + options.heartbeatMs;
        feed.reconcile();
        // The device may have acknowledged through another instance, whose word of it was lost.
        if (unacknowledged.length >= window) void catchUp();
        yield toEvent({
          case: "heartbeat",
          value: {
            latestSequence: BigInt(feed.latestSequence()),
            droppedOnlinePushes: BigInt(pushes.dropped()),
            brokerAway: hasReadFailed || options.isBrokerAway(),
          },
        });
      }
      if (ended.last !== undefined) yield toEvent(ended.last);
      if (ended.error !== undefined) throw ended.error;
    },

    hint: feed.hint,
    reconcile() {
      retryNow();
      feed.reconcile();
    },

    push(push) {
      pushes.add(push);
      wake();
    },

    acknowledge,
    acknowledged: () => acknowledged,
    sentThrough: () => sentThrough,

    end,
  };

  function end(reason: SessionEnd) {
    ended ??= reason;
    pushes.close();
    wake();
  }

  function acknowledge(sequence: number): boolean {
    acknowledged = Math.max(acknowledged, sequence);
    const before = unacknowledged.length;
    while (unacknowledged[0] !== undefined && unacknowledged[0] <= sequence) unacknowledged.shift();
    if (unacknowledged.length === before) return false;
    wake();
    return true;
  }

  async function catchUp(): Promise<void> {
    const cursor = await options.readCursor().catch(() => undefined);
    if (cursor !== undefined) acknowledge(cursor);
  }
}

/** The device begins a session anew, which tells it where the store goes on. */
function storeChanged(): SessionEnd {
  // Spread: all devices hear of it at the same moment.
  const afterMs = Math.floor(Math.random() * 2_000);
  const reason = "the store of notifications was replaced";
  return { last: { case: "reconnect", value: { afterMs, reason } } };
}

function toStoredEvent(item: FeedItem): SubscribeResponse {
  switch (item.kind) {
    case "notification":
      return toEvent({ case: "notification", value: item.notification });
    case "message":
      return toEvent({ case: "message", value: item.message });
    case "recall":
      return toEvent({ case: "recall", value: item.recall });
    case "gap": {
      const { from, sequence, epoch, reason } = item;
      return toEvent({ case: "gap", value: { from: BigInt(from), to: BigInt(sequence), epoch, reason } });
    }
  }
}

function toEvent(event: EventInit): SubscribeResponse {
  return create(SubscribeResponseSchema, { event });
}
