import { once } from "node:events";
import { readFile } from "node:fs/promises";
import http2 from "node:http2";
import { setTimeout as wait } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { type ServiceProcess, startProcess } from "../helpers/process.ts";

let service: ServiceProcess;
let admin: string;

beforeAll(async () => {
  service = await startProcess({ PARTITIONS: "1" });
  admin = await service.adminToken();
  // What the first calls load and compile is not what a flood costs.
  for (let i = 0; i < 300; i++) await honestCalls();
});
afterAll(() => service.remove());

const mebibyte = 1_048_576;
const maxGrowthBytes = 64 * mebibyte;
const bodyBytes = 8 * mebibyte - 1_024;
const chunk = Buffer.alloc(65_536, "x");

async function residentBytes(): Promise<number> {
  const status = await readFile(`/proc/${service.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024;
}

/** A send over REST and one over gRPC, on connections of their own. */
async function honestCalls(): Promise<void> {
  const response = await fetch(`${service.url}/msg/send_business_notification`, {
    method: "POST",
    headers: { operationID: "honest", token: admin },
    body: JSON.stringify({ sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "{}" }),
  });
  expect(await response.json()).toMatchObject({ errCode: 0 });
  const send = { sendUserId: "imAdmin", recvUserId: "alice", key: "k", data: "{}" };
  await honestClient().sendBusinessNotification(send, { headers: { token: admin } });
}

let client: ReturnType<typeof createClient<typeof MsgService>> | undefined;
function honestClient() {
  client ??= createClient(MsgService, createGrpcTransport({ baseUrl: service.url }));
  return client;
}

/** Opens bodies on one connection and writes each but for its end, as fast as it is taken. */
async function flood(count: number, headers: http2.OutgoingHttpHeaders) {
  const session = http2.connect(service.url);
  session.on("error", () => {});
  await once(session, "connect");
  for (let i = 0; i < count; i++) {
    const stream = session.request({ ":method": "POST", ...headers }, { endStream: false });
    stream.on("error", () => {}).resume();
    let left = bodyBytes;
    const write = () => {
      while (left > 0 && !stream.closed && !stream.destroyed) {
        const piece = chunk.subarray(0, left);
        left -= piece.length;
        if (!stream.write(piece)) {
          stream.once("drain", write);
          return;
        }
      }
    };
    write();
  }
  return { stop: () => session.destroy() };
}

const cases: [what: string, path: string, headers: () => Promise<http2.OutgoingHttpHeaders>][] = [
  ["without a token, over REST", "/auth/parse_token", async () => ({ operationid: "flood" })],
  [
    "without a token, over gRPC",
    "/mustreach.auth.v1.AuthService/GetAdminToken",
    async () => ({ "content-type": "application/grpc", te: "trailers" }),
  ],
  [
    "by a user, of a method for admins, over gRPC",
    "/mustreach.msg.v1.MsgService/SendBusinessNotificationBatch",
    async () => ({ "content-type": "application/grpc", te: "trailers", token: await service.userToken("mallory") }),
  ],
  [
    "by a user, of a method for users, over gRPC",
    "/mustreach.msg.v1.MsgService/PullMessages",
    async () => ({ "content-type": "application/grpc", te: "trailers", token: await service.userToken("mallory") }),
  ],
  [
    "by a user, of a method for users, over Connect",
    "/mustreach.msg.v1.MsgService/PullMessages",
    async () => ({ "content-type": "application/json", token: await service.userToken("mallory") }),
  ],
];

describe.each([250, 1_000])("%i unfinished bodies of 8 MiB on one connection", (count) => {
  test.each(cases)("%s, cost at most 64 MiB, and honest calls are answered", async (...[, path, headers]) => {
    await service.heapBytes();
    const before = await residentBytes();
    const { stop } = await flood(count, { ":path": path, ...(await headers()) });
    let most = before;
    try {
      for (let round = 0; round < 100; round++) {
        await honestCalls();
        most = Math.max(most, await residentBytes());
        await wait(20);
      }
    } finally {
      stop();
    }
    expect(most - before).toBeLessThan(maxGrowthBytes);
  });
});
