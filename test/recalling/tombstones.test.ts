import { create } from "@bufbuild/protobuf";
import { beforeAll, expect, test, vi } from "vitest";
import { toPartition, toToken } from "../../src/broker/subjects.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { inboxStream, inboxSubject, toDay } from "../../src/inbox/layout.ts";
import { useBroker } from "../helpers/broker.ts";
import { type Tracking, useTracking } from "../helpers/tracking.ts";

const server = useBroker();
const instances = useTracking(server);
let tracking: Tracking;

beforeAll(async () => {
  tracking = await instances.open();
});

let made = 0;
const newId = (kind: string) => `${kind}-${++made}`;

async function write(userIds: readonly string[], serverMsgId: string, { inbox } = tracking) {
  const notification = create(NotificationSchema, { serverMsgId, sendTime: BigInt(Date.now()) });
  await inbox.writeMany(userIds, { kind: "notification", notification }, { operationId: "test" });
}

const place = (userIds: readonly string[], serverMsgId: string, { tombstones } = tracking) =>
  tombstones.place(userIds, { serverMsgId, sendTimeMs: Date.now() }, "test");

test("a place that is taken stays so, for that notification and that user only", async () => {
  const [user, another, id] = [newId("user"), newId("user"), newId("id")];
  expect(await place([user], id)).toEqual(new Map());
  await write([user, another], id);
  await write([user], newId("id"));
  expect(await tracking.entriesOf(user)).toMatchObject([{ notification: { serverMsgId: `id-${made}` } }]);
  expect(await tracking.entriesOf(another)).toMatchObject([{ notification: { serverMsgId: id } }]);
});

test("where the notification is, no place is taken, and it is told where", async () => {
  const users = Array.from({ length: 600 }, () => newId("user"));
  const id = newId("id");
  const holders = users.filter((_, i) => i % 100 === 7);
  await write(holders, id);
  const held = await place(users, id);
  expect(held).toEqual(await tracking.inbox.find(users, id));
  expect(held.size).toBe(holders.length);
  await tracking.inbox.remove(held);
  expect(await place(users, id)).toEqual(new Map());
  await write(users, id);
  expect((await tracking.inbox.find(users, id)).size).toBe(0);
});

test("two instances that place at once, while a third writes, agree in the end", async () => {
  const others = await Promise.all([instances.open(), instances.open()]);
  const users = Array.from({ length: 300 }, () => newId("user"));
  const id = newId("id");
  const placeAll = async (instance: Tracking) => {
    for (let held = await place(users, id, instance); held.size > 0; held = await place(users, id, instance)) {
      await instance.inbox.remove(held);
    }
  };
  await Promise.all([placeAll(tracking), ...others.map(placeAll), write(users, id, others[0])]);
  expect((await tracking.inbox.find(users, id)).size).toBe(0);
  await write(users, id, others[1]);
  expect((await tracking.inbox.find(users, id)).size).toBe(0);
});

test("nobody is shown them, and a reader gets past them", async () => {
  const [user, id] = [newId("user"), newId("id")];
  await write([user], id);
  for (let i = 0; i < 10; i++) await place([user], newId("id"));
  await write([user], newId("id"));
  const { inbox } = tracking;
  const got: number[] = [];
  let after = 0;
  for (let pending = 1; pending > 0; ) {
    const page = await inbox.read(user, { after, limit: 3 });
    expect(page.throughSequence).toBeGreaterThan(after);
    got.push(...page.entries.map(({ sequence }) => sequence));
    ({ throughSequence: after, pending } = page);
  }
  expect(got).toHaveLength(2);
});

test("shortly before midnight, the places of both days are taken", async () => {
  const [user, id] = [newId("user"), newId("id")];
  const token = toToken(user);
  const partition = toPartition(token, 2);
  const today = toDay(Date.now());
  vi.useFakeTimers({ toFake: ["Date"] });
  try {
    vi.setSystemTime((today + 1) * 86_400_000 - 60_000);
    const sendTimeMs = Date.now() - 3 * 86_400_000;
    await tracking.tombstones.place([user], { serverMsgId: id, sendTimeMs }, "test");
  } finally {
    vi.useRealTimers();
  }
  const connection = await server.connect();
  for (const day of [today - 3, today, today + 1]) {
    const subject = inboxSubject(partition, token, day, toToken(id));
    const reply = await connection.request(`$JS.API.DIRECT.GET.${inboxStream(partition)}.${subject}`);
    expect(reply.headers?.get("Mustreach-Kind")).toBe("tombstone");
  }
});
