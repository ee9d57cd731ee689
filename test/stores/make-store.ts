import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { toJson } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { jetstreamManager } from "@nats-io/jetstream";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import { adminPlatform } from "../../src/auth/platform.ts";
import { DeliveryService, SubscribeResponseSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createInstance } from "../../src/verify/own/instance.ts";
import { findInstallation } from "../../src/verify/versions/versions.ts";
import { startExternalBroker } from "../helpers/external-broker.ts";
import { type Answer, type StoreFacts, settingsOf, tokenTtlMs } from "./facts.ts";

/**
 * Lets another version of the service fill a broker, and packs the broker's store, with what the version said of it, as
 * `<name>.tar.gz`: what `test/e2e/upgrade.test.ts` upgrades from.
 *
 *     node test/stores/make-store.ts <where that version is installed> <name>
 */
const [from, name] = process.argv.slice(2);
if (from === undefined || name === undefined) throw new Error("usage: make-store.ts <installation> <name>");
const { program, version } = await findInstallation(from);

const secret = randomBytes(32).toString("base64url");
/** What is to happen when the store is upgraded, and not before it is packed, in milliseconds from now. */
const laterMs = 30_000;

const dir = await mkdtemp(join(tmpdir(), "mustreach-store-"));
const storeDir = join(dir, "store");
await mkdir(storeDir);
const broker = await startExternalBroker({ storeDir });
const service = await createInstance({
  name: "the service",
  nodeOptions: [],
  settings: {
    ...settingsOf({ secret }),
    NATS_URL: broker.url,
    DATA_DIR: join(dir, "data"),
    PORT: "0",
    ADMIN_PORT: "off",
  },
});
service.use(program);
const mint = createTokenMinter({ secret, ttlMs: tokenTtlMs });
const userToken = async (userId: string) => (await mint({ userId, platformId: 5 })).token;

try {
  await service.start();
  await writeFile(join(dir, "facts.json"), JSON.stringify(await fill(), undefined, 1));
  await service.end("SIGTERM");
} finally {
  await service.remove();
  await broker.remove();
}
const packed = join(import.meta.dirname, `${name}.tar.gz`);
await promisify(execFile)("tar", ["-czf", packed, "-C", dir, "facts.json", "store"]);
await rm(dir, { recursive: true, force: true });
process.stdout.write(`${packed}: ${(await stat(packed)).size} bytes, by ${version}\n`);

async function fill(): Promise<StoreFacts> {
  const { token: admin } = await mint({ userId: "imAdmin", platformId: adminPlatform });
  const [alice, bob, dave] = await Promise.all(["alice", "bob", "dave"].map(userToken));
  if (alice === undefined || bob === undefined || dave === undefined) throw new Error("no token was minted");
  const answers: Answer[] = [];

  const post = async (path: string, body: object, token = admin): Promise<Answer["answer"]> => {
    const response = await fetch(`${service.url}${path}`, {
      method: "POST",
      headers: { operationID: "make-store", token },
      body: JSON.stringify(body),
    });
    return (await response.json()) as Answer["answer"];
  };
  const must = async (path: string, body: object, token = admin) => {
    const answer = await post(path, body, token);
    if (answer.errCode !== 0) throw new Error(`${path}: ${JSON.stringify(answer)}`);
    return answer.data ?? {};
  };
  /** What is asked again after the upgrade. */
  const note = async (path: string, body: object, token = admin) => {
    answers.push({ path, body, token, answer: await post(path, body, token) });
  };
  const toRequest = (to: object, data: string, more: object = {}) => ({
    ...{ sendUserID: "system", key: "order.paid", data, reliabilityLevel: 2, clientMsgID: `id of ${data}` },
    ...to,
    ...more,
  });
  const send = (to: object, data: string, more: object = {}) =>
    must("/msg/send_business_notification", toRequest(to, data, more));
  const [toAlice, toCrew] = [{ recvUserID: "alice" }, { recvGroupID: "crew" }];

  /** What a device is shown, until it is idle. It acknowledges so many notifications of that. */
  const receive = async (token: string, deviceId: string, acknowledged: number) => {
    const delivery = createClient(DeliveryService, createGrpcTransport({ baseUrl: service.url }));
    const headers = { token };
    const events: StoreFacts["shown"] = [];
    const leaving = new AbortController();
    const stream = delivery.subscribe({ deviceId, afterSequence: 0n }, { headers, signal: leaving.signal });
    const shown: { sequence: bigint; epoch: string }[] = [];
    let heartbeats = 0;
    for await (const event of stream) {
      if (event.event.case === "ready") continue;
      heartbeats = event.event.case === "heartbeat" ? heartbeats + 1 : 0;
      if (heartbeats === 2) break;
      if (heartbeats === 1) continue;
      events.push(toJson(SubscribeResponseSchema, event) as StoreFacts["shown"][number]);
      if (event.event.case === "notification") shown.push(event.event.value);
    }
    const last = shown[acknowledged - 1];
    if (last !== undefined) await delivery.ack({ deviceId, sequence: last.sequence, epoch: last.epoch }, { headers });
    leaving.abort();
    return { events, cursor: Number(last?.sequence ?? 0) };
  };

  // Waiting notifications of two devices, which are not equally far.
  for (let i = 1; i <= 5; i++) await send(toAlice, `order ${i}`);
  await send(toAlice, "to be recalled");
  const phone = await receive(alice, "phone", 3);
  const laptop = await receive(alice, "laptop", 1);
  await must("/msg/recall_business_notification", { clientMsgID: "id of to be recalled" });

  // A group whose members change, and chat copies.
  const groupInfo = { groupID: "crew", groupName: "The crew", groupType: 2 };
  await must("/group/create_group", { ownerUserID: "carol", memberUserIDs: ["alice", "bob", "dave"], groupInfo });
  await send(toCrew, "shift 1");
  await receive(dave, "phone", 1);
  await send(toAlice, "chat 1", { sendMsg: true });
  await send(toAlice, "chat 2", { sendMsg: true });
  const { events } = await receive(alice, "fresh", 0);
  const conversations = await must("/msg/get_conversations", {}, alice);
  const [{ conversationID }] = conversations.conversations as [{ conversationID: string }];
  await must("/msg/mark_as_read", { conversationID, hasReadSeq: 1 }, alice);

  // A token that is revoked, and one that was minted after that.
  await must("/auth/force_logout", { userID: "bob", platformID: 5 });
  const bobAgain = await userToken("bob");

  // What is to happen after the upgrade: a send that is due then, and one to a group that nobody has expanded.
  const jsm = await jetstreamManager(await broker.connect());
  const pausedUntil = new Date(Date.now() + laterMs);
  for await (const { name: durable } of jsm.consumers.list("FANOUT")) {
    await jsm.consumers.pause("FANOUT", durable, pausedUntil);
  }
  await send(toCrew, "shift 2");
  await must("/group/kick_group", { groupID: "crew", kickedUserIDs: ["dave"] });
  await must("/group/invite_user_to_group", { groupID: "crew", invitedUserIDs: ["eve"] });
  await send(toAlice, "later", { sendAt: Date.now() + laterMs });

  // A cursor is stored a second after it has moved, at most.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  for (const data of ["order 1", "order 3", "order 5", "to be recalled", "shift 1"]) {
    await note("/msg/get_delivery_status", { clientMsgID: `id of ${data}` });
  }
  await note("/msg/get_conversations", {}, alice);
  await note("/msg/pull_messages", { conversationID, begin: 1, end: 10 }, alice);
  const pagination = { pageNumber: 1, showNumber: 100 };
  await note("/group/get_group_member_list", { groupID: "crew", pagination });
  for (const fromUserID of ["alice", "dave", "eve"]) {
    await note("/group/get_joined_group_list", { fromUserID, pagination });
  }
  await note("/msg/get_conversations", {}, bob);
  await note("/msg/get_conversations", {}, bobAgain);
  // Taken for what it was, and for something else.
  const sendPath = "/msg/send_business_notification";
  await note(sendPath, toRequest(toAlice, "order 2"));
  await note(sendPath, toRequest(toAlice, "order 2", { key: "order.shipped" }));
  await note(sendPath, toRequest(toAlice, "to be recalled"));
  await note(sendPath, toRequest(toCrew, "shift 1"));
  return {
    version,
    secret,
    tokens: { admin, alice, bob: bobAgain, dave },
    cursors: { phone: phone.cursor, laptop: laptop.cursor },
    shown: events,
    answers,
  };
}
