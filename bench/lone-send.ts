import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { pino } from "pino";
import { loadConfig } from "../src/config.ts";
import { openFoundation } from "../src/foundation.ts";
import { Durability, MsgService, SendBusinessNotificationRequestSchema } from "../src/gen/mustreach/msg/v1/msg_pb.ts";
import { send } from "../src/sending/send.ts";
import { validateSend } from "../src/sending/validate.ts";
import { startExternalBroker } from "../test/helpers/external-broker.ts";
import { startTestServer } from "../test/helpers/server.ts";

// The latency of one level-2 send at a time, beside that of a bare acknowledged publish to the same broker, which syncs
// each write, in turn: at the store, which is the send without a door, and through doors, with their client in this process.

const rounds = Number(process.argv[2] ?? 10);
const perRound = 100;

const broker = await startExternalBroker();
const settings = { NATS_URL: broker.url };
const server = await startTestServer(settings);
const nc = await broker.connect();
await (await jetstreamManager(nc)).streams.add({ name: "BARE", subjects: ["bare.*"], max_msgs_per_subject: 1 });
const js = jetstream(nc);

const config = loadConfig({
  MUSTREACH_NATS_URL: broker.url,
  MUSTREACH_TOKEN_SECRET: "x".repeat(32),
  MUSTREACH_DATA_DIR: server.dataDir,
});
const { delivering, store, close } = await openFoundation({
  config,
  log: pino({ level: "silent" }),
  embedded: undefined,
});
const unused = async () => {
  throw new Error("not used");
};
const sending = { ...delivering, later: unused, groupVersion: unused, durability: () => Durability.FSYNCED };
const limits = {
  maxDataBytes: config.maxDataBytes,
  retentionMs: config.retention,
  maxPayloadBytes: () => store.audit().maxPayloadBytes,
};

const data = JSON.stringify({ order: 77, text: "x".repeat(180) });
const token = await server.adminToken();
const request = { sendUserId: "imAdmin", recvUserId: "u", key: "order.paid", data, reliabilityLevel: 2 };
const headers = { token, operationID: "bench" };
const grpc = createClient(MsgService, createGrpcTransport({ baseUrl: server.url }));
const json = createClient(MsgService, createConnectTransport({ baseUrl: server.url, httpVersion: "1.1" }));
const atStore = (clientMsgId: string, collapseKey = "") =>
  send(
    sending,
    validateSend(create(SendBusinessNotificationRequestSchema, { ...request, clientMsgId, collapseKey }), limits),
    "bench",
  );
let number = 0;

const kinds: Record<string, () => Promise<unknown>> = {
  "bare js.publish": () => js.publish(`bare.${number++}`, data),
  "store, id generated": () => atStore(""),
  "store, own id": () => atStore(randomUUID()),
  "store, collapseKey, replaces nothing": () => atStore(randomUUID(), randomUUID()),
  "store, collapseKey, replaces one": () => atStore(randomUUID(), "order-77"),
  "gRPC, id generated": () => grpc.sendBusinessNotification(request, { headers }),
  "gRPC, own id": () => grpc.sendBusinessNotification({ ...request, clientMsgId: randomUUID() }, { headers }),
  "gRPC, level 1": () => grpc.sendBusinessNotification({ ...request, reliabilityLevel: 1 }, { headers }),
  "JSON, own id": () => json.sendBusinessNotification({ ...request, clientMsgId: randomUUID() }, { headers }),
};

const times = new Map<string, number[]>(Object.keys(kinds).map((name) => [name, []]));
for (let round = 0; round <= rounds; round++) {
  for (const [name, call] of Object.entries(kinds)) {
    for (let n = 0; n < perRound; n++) {
      const start = performance.now();
      await call();
      // The first round warms up.
      if (round > 0) times.get(name)?.push(performance.now() - start);
    }
  }
}
const meanOf = (all: readonly number[]) => all.reduce((sum, ms) => sum + ms, 0) / all.length;
console.log(`${rounds} rounds of ${perRound} each, in ms; x: times the bare publish`);
let bare: { p50: number; mean: number } | undefined;
for (const [name, all] of times) {
  all.sort((a, b) => a - b);
  const at = (part: number) => all[Math.floor(all.length * part)] ?? 0;
  const [p50, mean] = [at(0.5), meanOf(all)];
  bare ??= { p50, mean };
  const columns = [
    `p50 ${p50.toFixed(2)} (${(p50 / bare.p50).toFixed(2)} x)`,
    `mean ${mean.toFixed(2)} (${(mean / bare.mean).toFixed(2)} x)`,
    `p99 ${at(0.99).toFixed(2)}`,
  ];
  console.log([name.padEnd(20), ...columns.map((column) => column.padEnd(20))].join("  "));
}
await close();
await server.stop();
await broker.remove();
process.exit();
