import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { DeliveryService } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { verify, webhookSecret } from "../helpers/escalation.ts";
import { listen } from "../helpers/listen.ts";
import { startTestServer, type TestServer } from "../helpers/server.ts";

const received: { readonly userID: string; readonly data: string; readonly isGenuine: boolean }[] = [];
const webhook = createServer(async (request: IncomingMessage, response) => {
  const text = (await request.toArray()).join("");
  const body = JSON.parse(text);
  const isGenuine = verify({ text, headers: request.headers }) !== undefined;
  received.push({ userID: body.userID, data: body.notification.data, isGenuine });
  // The first try of each is refused.
  response.statusCode = received.filter(({ data }) => data === body.notification.data).length === 1 ? 500 : 204;
  response.end();
});
let server: TestServer;

beforeAll(async () => {
  const port = await listen(webhook);
  server = await startTestServer({
    ESCALATION_URL: `http://127.0.0.1:${port}/escalate`,
    // While it is changed.
    ESCALATION_SECRET: `whsec_${randomBytes(32).toString("base64")} ${webhookSecret}`,
    // Time for a device on a busy machine.
    ESCALATION_DELAY: "10s",
    HEARTBEAT: "1s",
  });
});
afterAll(async () => {
  await server.stop();
  webhook.close();
});

async function send(recvUserID: string, data: string, more: object = {}) {
  const body = { sendUserID: "imAdmin", recvUserID, key: "k", data, reliabilityLevel: 2, ...more };
  const { json } = await server.post("/msg/send_business_notification", body, await server.adminToken());
  expect(json.errCode).toBe(0);
}

const postsOf = (data: string) => received.filter((post) => post.data === data);

test("the webhook gets what no device has acknowledged, signed, again after a 500, and then no more", async () => {
  const device = createClient(DeliveryService, createGrpcTransport({ baseUrl: server.url }));
  const headers = { token: await server.userToken("online") };
  const leaving = new AbortController();
  const acknowledging = (async () => {
    for await (const { event } of device.subscribe({ deviceId: "phone" }, { headers, signal: leaving.signal })) {
      if (event.case === "notification")
        await device.ack({ deviceId: "phone", sequence: event.value.sequence }, { headers });
    }
  })().catch(() => {});
  await send("online", "acknowledged");
  await send("offline", "not acknowledged", { escalationDelaySeconds: 1 });
  await send("offline", "not yet", { escalationDelaySeconds: 3_600 });
  await vi.waitFor(() => expect(postsOf("not acknowledged")).toHaveLength(2));
  for (const post of postsOf("not acknowledged")) expect(post).toMatchObject({ userID: "offline", isGenuine: true });

  // What is sent later is looked at later: when it has been escalated, the others had their turn.
  await send("offline", "later");
  await vi.waitFor(() => expect(postsOf("later")).toHaveLength(2));
  expect(postsOf("not acknowledged")).toHaveLength(2);
  expect(postsOf("acknowledged")).toHaveLength(0);
  expect(postsOf("not yet")).toHaveLength(0);
  leaving.abort();
  await acknowledging;
});
