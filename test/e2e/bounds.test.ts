import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { jetstreamManager } from "@nats-io/jetstream";
import { expect, test, vi } from "vitest";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { fanoutJobs, lanes } from "../../src/sending/layout.ts";
import { useDevices } from "../helpers/device.ts";
import { startExternalBroker } from "../helpers/external-broker.ts";
import { useForFile } from "../helpers/for-file.ts";
import { useServer } from "../helpers/server.ts";

const bounds = { MAX_GROUPS_BYTES: "65536", MAX_CHAT_BYTES: "65536", MAX_JOBS_BYTES: "65536" };
const broker = useForFile(startExternalBroker, ({ remove }) => remove());
const server = useServer(() => ({ ...bounds, NATS_URL: broker.url }));
const openDevice = useDevices();

const path = "/msg/send_business_notification";
const large = "x".repeat(40_000);

async function call(path: string, body: object) {
  return (await server.post(path, body, await server.adminToken())).json;
}

async function must(path: string, body: object): Promise<Record<string, unknown>> {
  const json = await call(path, body);
  expect(json).toMatchObject({ errCode: 0 });
  return json.data ?? {};
}

const toSend = (recvUserID: string, more: object) => ({
  ...{ sendUserID: "orders", recvUserID, key: "test", data: large, reliabilityLevel: 2, ...more },
});

/** Calls until the stream is full, which is known a second later at most; how many calls were answered well. */
async function untilFull(path: string, body: (n: number) => object, setting: string): Promise<number> {
  for (let n = 0; n < 1_000; n++) {
    const { errCode, errDlt } = await call(path, body(n));
    if (errCode === 0) continue;
    expect({ errCode, errDlt }).toEqual({ errCode: 90101, errDlt: expect.stringContaining(setting) });
    return n;
  }
  throw new Error("it was never full");
}

test("full chat: a send with sendMsg is refused, what is stored is read, and other sends go on", async () => {
  const body = () => toSend("ann", { sendMsg: true });
  const stored = await untilFull(path, body, "MUSTREACH_MAX_CHAT_BYTES");
  expect(stored).toBeGreaterThan(0);
  const msg = createClient(MsgService, createGrpcTransport({ baseUrl: server.url }));
  const token = await server.userToken("ann");
  const { conversations } = await msg.getConversations({}, { headers: { token } });
  expect(conversations).toMatchObject([{ maxSeq: BigInt(stored) }]);
  await must(path, toSend("ann", {}));
});

test("full fan-out: a send to a group or a list is refused, and goes on when those before it are expanded", async () => {
  const groupID = "crew";
  await must("/group/create_group", { ownerUserID: "olga", groupInfo: { groupID, groupName: "Crew", groupType: 2 } });
  const { consumers, streams } = await jetstreamManager(await broker.connect());
  const jobs = Array.from({ length: lanes }, (_, lane) => fanoutJobs(lane));
  const hour = new Date(Date.now() + 3_600_000);
  for (const { stream, durable } of jobs) await consumers.pause(stream, durable, hour);
  const idOf = (n: number) => `fan-${n}`;
  const body = (n: number) => ({ ...toSend("", { clientMsgID: idOf(n) }), recvGroupID: groupID });
  const times = await untilFull(path, body, "MUSTREACH_MAX_JOBS_BYTES");
  expect(times).toBeGreaterThan(0);
  const list = { ...toSend("", {}), recvUserIDs: ["pia", "quinn"] };
  expect(await call(path, list)).toMatchObject({ errCode: 90101, errDlt: expect.stringContaining("FANOUT") });
  const waiting = async () => (await streams.info("FANOUT")).state.messages;
  // Nothing of what was refused.
  expect(await waiting()).toBe(times);
  await must(path, toSend("olga's friend", {}));

  for (const { stream, durable } of jobs) await consumers.resume(stream, durable);
  await vi.waitFor(() => must(path, body(times)), { timeout: 60_000, interval: 200 });
  const session = await openDevice(server.url, await server.userToken("olga")).subscribe({ window: 1_000 });
  const taken = await session.take(times + 1);
  expect(taken.map(({ clientMsgId }) => clientMsgId)).toEqual(Array.from({ length: times + 1 }, (_, n) => idOf(n)));
  await vi.waitFor(async () => expect(await waiting()).toBe(0));
});

test("full groups: nobody is added, members stay, and who leaves makes room", async () => {
  const groupID = "orders";
  await must("/group/create_group", {
    ownerUserID: "owner",
    groupInfo: { groupID, groupName: "Orders", groupType: 2 },
  });
  const user = (n: number) => `${n}-${"u".repeat(500)}`;
  const invited = (n: number) => [0, 1, 2, 3, 4].map((each) => user(5 * n + each));
  const invite = (n: number) => ({ groupID, invitedUserIDs: invited(n) });
  const times = await untilFull("/group/invite_user_to_group", invite, "MUSTREACH_MAX_GROUPS_BYTES");
  expect(times).toBeGreaterThan(0);
  const page = { groupID, pagination: { pageNumber: 1, showNumber: 1_000 } };
  const list = await must("/group/get_group_member_list", page);
  expect(list.total).toBe(1 + 5 * times);
  await must(path, { ...toSend("", { data: "small" }), recvGroupID: groupID });
  for (let n = 0; n < times; n++) await must("/group/kick_group", { groupID, kickedUserIDs: invited(n) });
  expect(await must("/group/get_group_member_list", page)).toMatchObject({ total: 1 });
});

test("full schedule: a send with sendAt is refused, and one that is recalled makes room", async () => {
  const sendAt = Date.now() + 3_600_000;
  const body = (n: number) => toSend("bob", { sendAt, clientMsgID: `later-${n}` });
  const times = await untilFull(path, body, "MUSTREACH_MAX_JOBS_BYTES");
  expect(times).toBeGreaterThan(0);
  for (let n = 0; n < times; n++) {
    const reference = { sendUserID: "orders", clientMsgID: `later-${n}` };
    await must("/msg/recall_business_notification", reference);
  }
  await vi.waitFor(() => must(path, body(times)), { timeout: 10_000, interval: 200 });
});
