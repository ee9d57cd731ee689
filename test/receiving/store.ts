import { create, toBinary } from "@bufbuild/protobuf";
import type { Addressing } from "../../src/addressing.ts";
import { systemClock } from "../../src/clock.ts";
import type { DeviceCursor } from "../../src/cursors/device-cursors.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { toEventFrame } from "../../src/inbox/event-frame.ts";
import type { Lineage } from "../../src/inbox/lineage.ts";
import type { InboxPage, ReadOptions } from "../../src/inbox/read-page.ts";
import type { ReadRequest } from "../../src/receiving/feed/feed-item.ts";
import type { SessionHome } from "../../src/receiving/session-options.ts";
import { createTimerWheel } from "../../src/timer-wheel.ts";
import { Traffic } from "../../src/traffic/traffic.ts";

/** One user's inbox in memory, which answers as the real one. */
export interface Store {
  /** Stores a notification after a hole of `skip` sequences, and returns its sequence. */
  add(data: string, options?: { skip?: number; expiresAtMs?: number; devices?: Addressing }): number;
  read(options: Pick<ReadOptions, "after" | "limit" | "way">): Promise<InboxPage>;
  /** As a feed calls it; all calls are in `reads`. */
  readonly readInbox: (request: ReadRequest) => Promise<InboxPage>;
  readonly reads: ReadRequest[];
  /** The cursors of the user's devices. */
  cursors: readonly DeviceCursor[];
  readonly readCursors: () => Promise<readonly DeviceCursor[]>;
  /** Reads fail from now on, until it is set back to undefined. */
  failure: Error | undefined;
  /** Reads from now on are answered when this resolves. */
  answers: Promise<void> | undefined;
}

/** Of a store that has no epochs yet. */
export const lineage: Lineage = [];

/** Creates an empty store; of one that `isLong` the index is refused. */
export function createStore({ isLong = false } = {}): Store {
  const entries: InboxPage["entries"][number][] = [];
  let last = 0;
  const store: Store = {
    add(data, { skip = 0, expiresAtMs, devices } = {}) {
      last += 1 + skip;
      const notification = create(NotificationSchema, { data, sequence: BigInt(last), reliabilityLevel: 2 });
      const frame = toEventFrame("notification", toBinary(NotificationSchema, notification));
      entries.push({
        kind: "notification",
        sequence: last,
        epoch: "",
        storedAtMs: 1,
        expiresAtMs,
        devices,
        traceparent: "",
        frame,
      });
      return last;
    },
    async read({ after, limit, way = "index" }) {
      const following = entries.filter(({ sequence }) => sequence > after);
      const page = following.slice(0, limit);
      const pending = following.length - page.length;
      const isIndexed = way === "index" && !isLong;
      // Only by the index it is known up to where the store was read.
      const end = pending === 0 && isIndexed ? last : after;
      const throughSequence = Math.max(end, page.at(-1)?.sequence ?? 0);
      return {
        ...{ entries: page, throughSequence, pending, lineage },
        ...{ isLong: way === "index" && isLong, isStoreChanged: false },
      };
    },
    async readInbox(request) {
      store.reads.push(request);
      await new Promise((resolve) => setImmediate(resolve));
      await store.answers;
      if (store.failure !== undefined) throw store.failure;
      return store.read(request);
    },
    reads: [],
    cursors: [],
    readCursors: async () => store.cursors,
    failure: undefined,
    answers: undefined,
  };
  return store;
}

type HomeStore = Pick<Store, "readInbox"> & Partial<Pick<Store, "readCursors">>;

/** Where a session of a test is at home: on a store, without a broker. */
export function homeOf({ readInbox, readCursors = async () => [] }: HomeStore, heartbeatMs: number): SessionHome {
  return {
    read: readInbox,
    oldestSequence: async () => 0,
    timers: createTimerWheel(),
    clock: systemClock,
    heartbeatMs,
    failures: { inboxUnread() {} },
    prepare: () => undefined,
    replayInTurn: (replay) => replay(),
    readCursor: async () => undefined,
    readCursors,
    onMarkedAcknowledged() {},
    lookForSettled() {},
    isBrokerAway: () => false,
    onGap() {},
    traffic: new Traffic({ observe() {} }),
    acknowledgements: { onAcknowledged() {} },
  };
}
