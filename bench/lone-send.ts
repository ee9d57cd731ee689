import { randomUUID } from "node:crypto";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { MsgService } from "../src/gen/mustreach/msg/v1/msg_pb.ts";
import { startBroker } from "../test/helpers/broker.ts";
import { startTestServer } from "../test/helpers/server.ts";

// The latency of one level-2 send at a time, beside that of a bare acknowledged publish to a broker that syncs as well, in turn.

const rounds = Number(process.argv[2] ?? 10);
const perRound = 100;

const server = await startTestServer();
const broker = await startBroker();
const nc = await broker.connect();
await (await jetstreamManager(nc)).streams.add({ name: "BARE", subjects: ["bare.*"], max_msgs_per_subject: 1 });
const js = jetstream(nc);
const data = JSON.stringify({ order: 77, text: "x".repeat(180) });
const token = await server.adminToken();
const request = { sendUserId: "imAdmin", recvUserId: "u", key: "order.paid", data, reliabilityLevel: 2 };
const headers = { token, operationID: "bench" };
const grpc = createClient(MsgService, createGrpcTransport({ baseUrl: server.url }));
const json = createClient(MsgService, createConnectTransport({ baseUrl: server.url, httpVersion: "1.1" }));
let number = 0;

const kinds: Record<string, () => Promise<unknown>> = {
  "bare publish": () => js.publish(`bare.${number++}`, data),
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
let bare = 0;
for (const [name, all] of times) {
  all.sort((a, b) => a - b);
  const p50 = all[all.length >> 1] ?? 0;
  const p99 = all[Math.floor(all.length * 0.99)] ?? 0;
  bare ||= p50;
  console.log(`${name.padEnd(20)} p50 ${p50.toFixed(2)} ms  p99 ${p99.toFixed(2)} ms  ${(p50 / bare).toFixed(2)} x`);
}
await server.stop();
await broker.remove();
process.exit();
