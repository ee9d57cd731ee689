import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterEach, describe, expect, test, vi } from "vitest";
import { retryAfterMsOf, toErrorFacts } from "../../src/errors.ts";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { type TestSettings, useServer } from "../helpers/server.ts";
import { startWorkers } from "../helpers/workers.ts";

vi.setConfig({ testTimeout: 120_000 });

const path = "/msg/send_business_notification";
const toSend = (recvUserID: string, reliabilityLevel = 2) => ({
  ...{ sendUserID: "orders", recvUserID, key: "test", data: "x", reliabilityLevel },
});

/** One that sends over gRPC, as the admin of that name. */
function openCaller(url: string, token: string) {
  const client = createClient(MsgService, createGrpcTransport({ baseUrl: url }));
  return (recvUserId: string, n: number) => {
    const message = { sendUserId: "orders", recvUserId, key: "test", data: String(n), reliabilityLevel: 2 };
    return client.sendBusinessNotification(message, { headers: { token } });
  };
}

describe("one who floods", () => {
  const server = useServer({ MAX_SENDS_IN_FLIGHT: "16", SEND_TIMEOUT: "10m" });
  const resume: (() => void)[] = [];
  afterEach(() => {
    for (const next of resume.splice(0)) next();
  });

  test("with 2,000 sends has four fifths of the bound, is told when to come back, and another is let in next", async () => {
    const flood = openCaller(server.url, await server.adminToken());
    const { token } = await server.mint({ userId: "openIMAdmin", platformId: 10 });
    const other = openCaller(server.url, token);
    await Promise.all([flood("warm", 0), other("warm", 0)]);
    const metric = async (name: string) => {
      const text = await (await fetch(`${server.adminUrl}/metrics`)).text();
      return Number(text.match(new RegExp(`^${name} (\\d+)$`, "m"))?.[1]);
    };

    // The broker answers when it is let go on, so that what is admitted stays under way.
    const broker = server.brokerPid() ?? 0;
    process.kill(broker, "SIGSTOP");
    resume.push(() => process.kill(broker, "SIGCONT"));
    const refusals: unknown[] = [];
    const refused = Promise.withResolvers<void>();
    const sends = Array.from({ length: 2_000 }, async (_, n) => {
      try {
        return await flood(`user-${n}`, n);
      } catch (error) {
        if (refusals.push(error) === 1_988) refused.resolve();
        return undefined;
      }
    });
    await refused.promise;
    const others = Array.from({ length: 3 }, (_, n) => other("bob", n));
    const overRest = await server.post(path, toSend("carol"), await server.adminToken());
    expect(overRest).toMatchObject({ status: 429, json: { errCode: 429, errMsg: "TooManyRequestsError" } });
    expect(Number(overRest.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
    await vi.waitFor(async () => expect(await metric("mustreach_sends_in_flight")).toBe(15), { timeout: 60_000 });

    for (const next of resume.splice(0)) next();
    expect((await Promise.all(others)).every(({ serverMsgId }) => serverMsgId !== "")).toBe(true);
    const accepted = (await Promise.all(sends)).filter((sent) => sent !== undefined);
    expect(accepted).toHaveLength(12);
    for (const refusal of refusals) {
      expect(ConnectError.from(refusal).code).toBe(Code.ResourceExhausted);
      expect(toErrorFacts(refusal)).toMatchObject({ errCode: 429 });
      expect(retryAfterMsOf(refusal)).toBeGreaterThan(0);
    }
    // Afterwards it is as before.
    expect((await flood("after", 0)).serverMsgId).not.toBe("");
    await vi.waitFor(async () => expect(await metric("mustreach_sends_crowded_out_total")).toBe(1_989));
    expect(await metric("mustreach_sends_in_flight")).toBe(0);
  });
});

describe("quotas", () => {
  const settings: TestSettings = { QUOTA_CALLER: "10", QUOTA_RECIPIENT: "1" };
  const server = useServer(settings);

  test("of a recipient and of a caller are over REST HTTP 429 with Retry-After, and for each level", async () => {
    const token = await server.adminToken();
    const send = (to: string, level?: number) => server.post(path, toSend(to, level), token);
    for (const [to, level, next] of [
      ["ann", 1, 2],
      ["ben", 2, 1],
    ] as const) {
      expect(await send(to, level)).toMatchObject({ json: { errCode: 0 } });
      const refused = await send(to, next);
      expect(refused).toMatchObject({ status: 429, json: { errCode: 429 } });
      expect(refused.json.errDlt).toContain("recipient");
      expect(Number(refused.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
    }

    const batch = { notifications: Array.from({ length: 1_000 }, (_, n) => toSend(`user-${n}`)) };
    const tooMany = await server.post("/msg/batch_send_business_notification", batch, token);
    expect(tooMany).toMatchObject({ status: 429, json: { errCode: 429 } });
    expect(tooMany.json.errDlt).toContain("caller");
    batch.notifications.splice(3);
    const all = await server.post("/msg/batch_send_business_notification", batch, token);
    expect(all).toMatchObject({ status: 200, json: { errCode: 0 } });
    // Nobody else's is used.
    const { token: another } = await server.mint({ userId: "openIMAdmin", platformId: 10 });
    expect(await server.post(path, toSend("bob"), another)).toMatchObject({ json: { errCode: 0 } });
    // A wrong body, and who may not send, are told so.
    expect(await server.post(path, {}, token)).toMatchObject({ json: { errCode: 1001 } });
    expect(await server.post(path, toSend("ann"), await server.userToken("ann"))).toMatchObject({
      json: { errCode: 1002 },
    });
  });

  test("hold for all workers of an instance", async () => {
    const service = await startWorkers({ WORKERS: "2", QUOTA_CALLER: "1" });
    try {
      const token = await service.adminToken();
      const codes: number[] = [];
      const startedMs = performance.now();
      for (let i = 0; i < 12; i++) {
        // A connection of its own, which either worker may take.
        const headers = { operationID: "test", connection: "close", token };
        const body = JSON.stringify(toSend(`user-${i}`, 1));
        const answer = await fetch(`${service.url}${path}`, { method: "POST", headers, body });
        codes.push(((await answer.json()) as { errCode: number }).errCode);
      }
      expect(codes[0]).toBe(0);
      expect(codes).toContain(429);
      // One a minute is given back.
      const minutes = Math.ceil((performance.now() - startedMs) / 60_000);
      expect(codes.filter((code) => code === 0).length).toBeLessThanOrEqual(1 + minutes);
    } finally {
      await service.remove();
    }
  });
});
