import { setTimeout as delay } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { connectBroker } from "../../src/broker/connect.ts";
import { toPartition, toToken } from "../../src/broker/subjects.ts";
import { type Write, write } from "../../src/broker/write.ts";
import { settings as defaults } from "../../src/config.ts";
import { GroupService } from "../../src/gen/mustreach/directory/v1/directory_pb.ts";
import {
  Durability,
  MsgService,
  type SendBusinessNotificationResponse,
} from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { inboxIdFilter } from "../../src/inbox/layout.ts";
import { dataOf, isIncreasing, useDevices } from "../helpers/device.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { type ServiceProcess, startProcess } from "../helpers/process.ts";

const memberCount = 10_000;
const partitions = Number(defaults.PARTITIONS.default);
const groupId = "everybody";
const memberIds = Array.from({ length: memberCount }, (_, n) => `user-${n}`);
const settings = { HEARTBEAT: "1s" };

/** How the service expands: members at a time, and copies in a batch. The bare batches are cut in the same way. */
const [chunkSize, batchSize] = [5_000, 500];

const openDevice = useDevices();
const cleanups: (() => Promise<unknown> | unknown)[] = [];
let broker: ExternalBroker;
let nc: NatsConnection;
let jsm: JetStreamManager;
let service: ServiceProcess;
/** Copies stored since the last send, as the broker tells of each. */
let stored = 0;
let onStored = () => {};

beforeAll(async () => {
  broker = await startExternalBroker();
  cleanups.push(broker.remove);
  nc = await broker.connect();
  jsm = await jetstreamManager(nc);
  nc.subscribe("live.*.*.hint.*.*", {
    callback() {
      stored++;
      onStored();
    },
  });
  service = await startProcess({ ...settings, NATS_URL: broker.url });
  cleanups.push(() => service.remove());
  await call(async (url, headers) => {
    const groups = createClient(GroupService, toTransport(url));
    const [ownerUserId, ...memberUserIds] = memberIds;
    await groups.createGroup({ ownerUserId: ownerUserId ?? "", memberUserIds, groupInfo }, { headers });
  });
});
afterAll(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});
beforeEach(() => {
  stored = 0;
});

const groupInfo = { groupId, groupType: 2 };

test("a worker that is killed twice on its way leaves each member exactly one copy", async () => {
  const first = await send("through two kills");
  const reached = [await killAfter(0.25)];
  // The dead worker's job holds up what follows it to the group; the reply does not wait for that.
  const second = await send("behind it");
  expect(second.durability).toBe(Durability.FSYNCED);
  expect((await jsm.streams.info("FANOUT")).state.messages).toBe(2);
  expect((await countCopies()).get(toToken(second.serverMsgId))).toBeUndefined();
  reached.push(await killAfter(0.6));
  await whenExpanded();

  // It was in the middle, both times, and the second worker had got further than the first.
  process.stdout.write(`fan-out to ${memberCount} members: killed after ${reached.join(" and ")} copies\n`);
  expect(reached).toEqual(reached.toSorted((a, b) => a - b));
  expect(new Set([0, ...reached, memberCount]).size).toBe(4);

  const users = memberIds.map((userId) => toToken(userId)).sort();
  for (const { serverMsgId } of [first, second]) expect(await holdersOf(serverMsgId)).toEqual(users);
  expect([...(await countCopies()).values()]).toEqual([memberCount, memberCount]);
  // Nothing was stored and taken back, or stored in the place of another.
  for (const { state } of await inboxes()) expect(state.last_seq).toBe(state.messages);

  for (const userId of ["user-0", "user-4999", "user-5000", "user-9999"]) {
    const session = await openDevice(service.url, await service.userToken(userId)).subscribe();
    const taken = await session.takeUntilIdle();
    expect(dataOf(taken)).toEqual(["through two kills", "behind it"]);
    expect(isIncreasing(taken)).toBe(true);
  }
  const stranger = await openDevice(service.url, await service.userToken("stranger")).subscribe();
  expect(await stranger.takeUntilIdle()).toEqual([]);
});

/** Kills the service when this share of the members has a copy, starts another, and resolves to how many had one. */
async function killAfter(share: number): Promise<number> {
  await whenStored(share * memberCount);
  await service.kill("SIGKILL");
  const copies = (await countCopies()).values().reduce((sum, count) => sum + count, 0);
  service = await startProcess({ ...settings, NATS_URL: broker.url }, service.dataDir);
  return copies;
}

test("an expansion that nobody disturbs is measured, beside the same batches bare", async () => {
  const expanding: number[] = [];
  const writing: number[] = [];
  const writeBare = await openBareStreams();
  for (let run = 1; run <= 3; run++) {
    const { serverMsgId } = await send(`undisturbed ${run}`);
    const repliedAt = performance.now();
    await whenExpanded();
    expanding.push(performance.now() - repliedAt);
    expect(await holdersOf(serverMsgId)).toHaveLength(memberCount);
    writing.push(await writeBare(serverMsgId));
  }
  const [expanded, bare] = [toRate(expanding), toRate(writing)];
  const share = Math.round((100 * expanded) / bare);
  process.stdout.write(`fan-out: ${expanded} copies a second, the same batches bare ${bare}: ${share} %\n`);
});

async function send(data: string): Promise<SendBusinessNotificationResponse> {
  return call((url, headers) =>
    createClient(MsgService, toTransport(url)).sendBusinessNotification(
      { sendUserId: "system", recvGroupId: groupId, key: "test", data, reliabilityLevel: 2 },
      { headers },
    ),
  );
}

async function call<T>(work: (url: string, headers: { token: string }) => Promise<T>): Promise<T> {
  return work(service.url, { token: await service.adminToken() });
}

function toTransport(baseUrl: string) {
  const sessionManager = new Http2SessionManager(baseUrl);
  cleanups.push(() => sessionManager.abort());
  return createGrpcTransport({ baseUrl, sessionManager });
}

function inboxes() {
  return Promise.all(
    Array.from({ length: partitions }, (_, p) => jsm.streams.info(`INBOX_${p}`, { subjects_filter: `inbox.${p}.>` })),
  );
}

/** The copies in the inboxes: user token and id token of each. */
async function listCopies(): Promise<readonly { user: string; id: string }[]> {
  const subjects = (await inboxes()).flatMap(({ state }) => Object.entries(state.subjects ?? {}));
  return subjects.flatMap(([subject, count]) => {
    const [, , user = "", , id = ""] = subject.split(".");
    return Array<{ user: string; id: string }>(count).fill({ user, id });
  });
}

/** How many copies there are of each notification, by the token of its id. */
async function countCopies(): Promise<Map<string, number>> {
  const copies = Map.groupBy(await listCopies(), ({ id }) => id);
  return new Map([...copies].map(([id, { length }]) => [id, length]));
}

/** The tokens of those who have a notification, in order, each as often as it has it. */
async function holdersOf(serverMsgId: string): Promise<string[]> {
  const token = toToken(serverMsgId);
  return (await listCopies()).flatMap(({ user, id }) => (id === token ? [user] : [])).sort();
}

/** Resolves in the moment in which the broker tells of this many copies. */
async function whenStored(copies: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(() => reject(new Error(`${stored} of ${copies} copies after 60 s`)), 60_000);
  onStored = () => {
    if (stored >= copies) resolve();
  };
  onStored();
  await promise.finally(() => clearTimeout(timer));
}

/** Resolves when no group send waits, nor is being expanded. */
async function whenExpanded(): Promise<void> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await delay(5)) {
    if ((await jsm.streams.info("FANOUT")).state.messages === 0) return;
  }
  throw new Error("the group sends were not expanded in 60 s");
}

/**
 * Makes streams as the inboxes are. What it resolves to writes all copies of a notification into them, in the batches
 * of an expansion, and resolves to how long that took, in milliseconds.
 */
async function openBareStreams(): Promise<(serverMsgId: string) => Promise<number>> {
  for (const { config } of await inboxes()) {
    const p = config.name.replace("INBOX_", "");
    await jsm.streams.add({
      ...config,
      name: `BARE_${p}`,
      subjects: [`bare.${p}.*.*.*`],
      republish: {
        src: `bare.${p}.*.*.*`,
        dest: `bare-live.${p}.{{wildcard(1)}}.hint.{{wildcard(2)}}.{{wildcard(3)}}`,
        headers_only: true,
      },
    });
  }
  const log = pino({ level: "silent" });
  const bare = await connectBroker({ servers: [broker.url], requestTimeoutMs: 20_000, log });
  cleanups.push(() => bare.close());

  return async (serverMsgId) => {
    const users = memberIds.map((userId) => ({ userId, token: toToken(userId) }));
    const batches: Write[][] = [];
    for (const chunk of slices(users, chunkSize)) {
      for (const [p, ofPartition] of Map.groupBy(chunk, ({ token }) => toPartition(token, partitions))) {
        for (const batch of slices(ofPartition, batchSize)) {
          const subject = inboxIdFilter(p, batch[0]?.token ?? "", toToken(serverMsgId));
          const copy = await jsm.streams.getMessage(`INBOX_${p}`, { last_by_subj: subject });
          if (copy === null) throw new Error("a member has no copy");
          const [, , , day, id] = copy.subject.split(".");
          batches.push(
            batch.map(({ userId, token }) => {
              const operationId = copy.header.get("Mustreach-Operation-Id");
              const headers = { "Mustreach-Operation-Id": operationId, "Mustreach-User": userId };
              return { subject: `bare.${p}.${token}.${day}.${id}`, payload: copy.data, headers };
            }),
          );
        }
      }
    }
    const startedAt = performance.now();
    for (const batch of batches) expect((await write(bare, batch, 20_000)).kind).toBe("stored");
    return performance.now() - startedAt;
  };
}

function slices<T>(all: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, n) => all.slice(n * size, (n + 1) * size));
}

/** Copies a second, by the quickest run: what else the machine does can only make it slower. */
function toRate(runsMs: readonly number[]): number {
  return Math.round(memberCount / (Math.min(...runsMs) / 1_000));
}
