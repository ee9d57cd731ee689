import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { afterAll } from "vitest";
import { toAddressing } from "../../src/addressing.ts";
import { connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { createCandidates } from "../../src/collapsing/candidates.ts";
import { type CollapseDeps, type Collapsing, createCollapsing } from "../../src/collapsing/collapse.ts";
import { createCursors } from "../../src/cursors/cursors.ts";
import { cursorSpec } from "../../src/cursors/layout.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createInbox, type Inbox } from "../../src/inbox/inbox.ts";
import { inboxSpecs } from "../../src/inbox/layout.ts";
import { createPublisher } from "../../src/publishing/publish.ts";
import { createRecalls } from "../../src/recalling/findings.ts";
import { type RecallDeps, recall } from "../../src/recalling/recall.ts";
import { removeEverywhere } from "../../src/recalling/remove-everywhere.ts";
import { createTombstones } from "../../src/recalling/tombstones.ts";
import { findToRecall, recipientsOf } from "../../src/sending/find-send.ts";
import { createFindPlaced } from "../../src/sending/placed.ts";
import { createSends, type SendRecord, type SendReference } from "../../src/sending/record.ts";
import { getDeliveryStatus, type StatusQuery } from "../../src/sending/status.ts";
import type { TestBroker } from "./broker.ts";
import { openEpochs } from "./epochs.ts";
import { readEntry } from "./frames.ts";
import { toSendRecord } from "./send-records.ts";

const log = pino({ level: "silent" });
const partitions = 2;
/** How long the instances keep notifications, in milliseconds. */
export const retentionMs = 7 * 86_400_000;

/** Of sends without a collapse key. */
export const noCollapse: Collapsing = {
  announce: () => Promise.reject(new Error("not wanted")),
  settle: () => Promise.reject(new Error("not wanted")),
};

/** The members of groups, by group id and version, as all instances of a test file see them. */
export type Memberships = Map<string, readonly string[]>;

/** What is different from a send to one user that is stored at once. */
export interface SendChange extends Partial<SendRecord> {
  /** In whose inboxes it is. Default: all recipients. */
  readonly storedFor?: readonly string[];
}

/** What an instance has for status and recall, as `server.ts` puts it together. */
async function openInstance({ url, dial }: Pick<TestBroker, "url" | "dial">, groups: Memberships) {
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 5_000, log });
  await declare(
    broker,
    [...inboxSpecs({ partitions, retentionMs, maxStoreBytes: 200_000_000 }), cursorSpec(retentionMs)],
    1,
  );
  const publisher = createPublisher(broker, { sendTimeoutMs: 5_000, isFsynced: () => true });
  const get = createDirectGet(broker, { timeoutMs: 5_000 });
  const inbox = createInbox(broker, publisher, get, partitions, openEpochs(broker, partitions));
  const sends = createSends(broker, publisher, get, partitions, createFindPlaced(broker, get, partitions));
  const recalls = createRecalls(broker, publisher, get, partitions);
  const cursors = createCursors(broker, get, { log });
  const membersAt = async (groupId: string, version: number) => groups.get(`${groupId}@${version}`) ?? [];
  const tombstones = createTombstones(publisher, get, partitions);
  const candidates = createCandidates(broker, publisher, get, { partitions, timeoutMs: 5_000 });
  const deps = {
    ...{ sends, recalls, inbox, cursors, tombstones, membersAt, retentionMs },
    removeEverywhere: (id: string, found: ReadonlyMap<string, number>) =>
      removeEverywhere({ broker, partitions }, id, found),
    cancelScheduled: async () => false,
  };

  const write = (record: SendRecord, userIds: readonly string[]) => {
    const notification = create(NotificationSchema, {
      serverMsgId: record.serverMsgId,
      clientMsgId: record.clientMsgId,
      sendTime: BigInt(record.deliverAtMs || record.sendTime),
      data: "data",
    });
    const expiresAtMs = record.expiresAtMs || undefined;
    const options = { operationId: "test", expiresAtMs, devices: toAddressing(record) };
    return inbox.writeMany(userIds, { kind: "notification", notification }, options);
  };

  return {
    inbox,
    sends,
    recalls,
    /** The same, where the replica that answers reads has nothing yet. */
    recallsBehind: createRecalls(
      broker,
      publisher,
      { ...get, last: async () => undefined, lastOf: async () => [] },
      partitions,
    ),
    removeEverywhere: deps.removeEverywhere,
    tombstones,
    candidates,

    /** Records a must-reach send and stores it. */
    async accept(clientMsgId: string, change: SendChange): Promise<SendRecord> {
      const { storedFor, ...changed } = change;
      const record = toSendRecord(clientMsgId, changed);
      await sends.claim(record);
      await write(record, storedFor ?? (await recipientsOf(membersAt, record)));
      return record;
    },

    /** Stores it in more inboxes. */
    write,

    /** Acknowledges what is newest in the inboxes of users, as a device of each. */
    async acknowledgeNewest(deviceId: string, ...userIds: string[]) {
      await Promise.all(
        userIds.map(async (userId) => {
          cursors.advance(userId, deviceId, await inbox.newestSequence(userId));
          await cursors.flush(userId, deviceId);
        }),
      );
    },

    /** Acknowledges up to a sequence. */
    async acknowledge(userId: string, deviceId: string, sequence: number) {
      cursors.advance(userId, deviceId, sequence);
      await cursors.flush(userId, deviceId);
    },

    /** What is in an inbox, in its order. */
    async entriesOf(userId: string) {
      return (await inbox.read(userId, { after: 0, limit: 1_000 })).entries.map(readEntry);
    },

    /** The kinds of what is in an inbox, in its order. */
    async kindsOf(userId: string) {
      return (await inbox.read(userId, { after: 0, limit: 1_000 })).entries.map(({ kind }) => kind);
    },

    status: (id: string | SendReference, query: Partial<Omit<StatusQuery, "reference">> = {}) =>
      getDeliveryStatus(deps, {
        reference: toReference(id),
        state: undefined,
        pageNumber: 1,
        showNumber: 1_000,
        ...query,
      }),

    /** Recalls, with parts of the test's own. */
    async recall(
      id: string | SendReference,
      own: Partial<Pick<RecallDeps, "removeEverywhere" | "cancelScheduled">> & { readonly inbox?: Partial<Inbox> } = {},
    ) {
      const send = await findToRecall(deps, toReference(id));
      return recall({ ...deps, ...own, inbox: { ...inbox, ...own.inbox } }, send, "test");
    },

    /** The collapse of sends, with what it is made of as `change` has it. */
    collapsing(change: (parts: CollapseParts) => CollapseParts) {
      const parts = change({ ...deps, candidates });
      const withdraw: CollapseDeps["withdraw"] = (...given) => recall(parts, ...given);
      return createCollapsing({ ...parts, membersAt, withdraw });
    },

    async close() {
      await cursors.close();
      get.close();
      await broker.close();
    },
  };
}

/** What a collapse, and the recalls that it makes, are made of. */
export type CollapseParts = RecallDeps & Pick<CollapseDeps, "candidates" | "recalls">;

/** A client message id alone names a send as well. */
function toReference(id: string | SendReference): SendReference {
  return typeof id === "string" ? { serverMsgId: "", clientMsgId: id } : id;
}

/** An instance over a test's broker. */
export type Tracking = Awaited<ReturnType<typeof openInstance>>;

/** Gives the tests of a file instances over its broker, closed after the last. Members are in `groups`. */
export function useTracking(server: TestBroker) {
  const groups: Memberships = new Map();
  const opened: Tracking[] = [];
  afterAll(async () => {
    for (const instance of opened) await instance.close();
  });
  return {
    groups,
    async open(): Promise<Tracking> {
      const instance = await openInstance(server, groups);
      opened.push(instance);
      return instance;
    },
  };
}
