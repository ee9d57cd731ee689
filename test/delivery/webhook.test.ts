import { once } from "node:events";
import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { createWebhook, sign, verifySignature, type WebhookBody } from "../../src/delivery/webhook.ts";
import { useReceivers } from "../helpers/escalation.ts";

const openReceiver = useReceivers();
const never = new AbortController().signal;
const body: WebhookBody = {
  escalationID: "0123-0-7",
  attempt: 3,
  userID: "ann",
  sequence: 7,
  notification: {
    serverMsgID: "0123",
    clientMsgID: "order 77",
    sendTime: 1_700_000_000_000,
    sendUserID: "system",
    recvUserID: "ann",
    recvGroupID: "",
    key: "paid",
    data: 'é 😀 "quoted"',
    reliabilityLevel: 2,
    sequence: 7,
  },
};

describe("a request", () => {
  test("is JSON, signed, and names the escalation", async () => {
    const { url, secret, received } = await openReceiver();
    expect(await createWebhook({ url, secret })(body, never)).toEqual({ kind: "taken" });
    const [request] = received;
    expect(request?.body).toEqual(body);
    expect(request?.headers).toMatchObject({
      "content-type": "application/json",
      "mustreach-escalation-id": "0123-0-7",
    });
    const signature = String(request?.headers["mustreach-signature"]);
    expect(signature).toMatch(/^t=\d{10},v1=[0-9a-f]{64}$/);
    expect(verifySignature(secret, signature, request?.text ?? "", 60)).toBe(true);
    expect(verifySignature("another secret", signature, request?.text ?? "", 60)).toBe(false);
  });

  test.each([200, 201, 202, 204, 299])("is taken by a %i", async (status) => {
    const { url, secret } = await openReceiver(() => ({ status }));
    expect(await createWebhook({ url, secret })(body, never)).toEqual({ kind: "taken" });
  });

  test.each([400, 401, 404, 429, 500, 503])("is refused by a %i, not for good", async (status) => {
    const { url, secret } = await openReceiver(() => ({ status }));
    const answer = await createWebhook({ url, secret })(body, never);
    expect(answer).toEqual({ kind: "refused", reason: `HTTP ${status}`, isFinal: false, retryAfterMs: undefined });
  });

  test("is refused for good by a 410", async () => {
    const { url, secret } = await openReceiver(() => ({ status: 410, text: "unknown user" }));
    const answer = await createWebhook({ url, secret })(body, never);
    expect(answer).toMatchObject({ kind: "refused", reason: "HTTP 410 unknown user", isFinal: true });
  });

  test.each([301, 302, 303, 307, 308])("is not sent on by a %i", async (status) => {
    const elsewhere = await openReceiver();
    const { url, secret } = await openReceiver(() => ({ status, headers: { location: elsewhere.url } }));
    const answer = await createWebhook({ url, secret })(body, never);
    expect(answer).toMatchObject({ kind: "refused", reason: `HTTP ${status}` });
    expect(elsewhere.received).toEqual([]);
  });

  test("keeps the first 200 characters of a refusal, on one line", async () => {
    const { url, secret } = await openReceiver(() => ({ status: 500, text: `a\r\n\tb\u0007 ${"😀".repeat(500_000)}` }));
    const answer = await createWebhook({ url, secret })(body, never);
    const reason = answer.kind === "refused" ? answer.reason : "";
    expect(reason).toMatch(/^HTTP 500 a b 😀{90}/u);
    expect(reason.length).toBeLessThanOrEqual("HTTP 500 ".length + 200);
    expect(reason.isWellFormed()).toBe(true);
  });

  test("waits as long as Retry-After says, up to an hour", async () => {
    const receiver = await openReceiver();
    const retryAfter = async (value: string) => {
      receiver.answer = () => ({ status: 503, headers: { "retry-after": value } });
      const answer = await createWebhook(receiver)(body, never);
      return answer.kind === "refused" ? answer.retryAfterMs : undefined;
    };
    expect(await retryAfter("7")).toBe(7_000);
    expect(await retryAfter("999999999")).toBe(3_600_000);
    const inAMinute = await retryAfter(new Date(Date.now() + 60_000).toUTCString());
    expect(inAMinute).toBeGreaterThan(55_000);
    expect(inAMinute).toBeLessThanOrEqual(60_000);
    for (const value of ["0", "-5", "soon", "Thu, 01 Jan 1970 00:00:00 GMT"]) {
      expect(await retryAfter(value)).toBeUndefined();
    }
  });

  test("that is not answered in time is refused, also when only its body hangs", async () => {
    const { promise: never200, resolve } = Promise.withResolvers<object>();
    const silent = await openReceiver(() => never200);
    const answer = await createWebhook({ ...silent, timeoutMs: 100 })(body, never);
    expect(answer).toMatchObject({ kind: "refused", reason: "no answer within 0.1 s", isFinal: false });
    resolve({});

    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.write("HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhalf"));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" ? address?.port : undefined;
    const url = `http://127.0.0.1:${port}/`;
    expect(await createWebhook({ url, secret: "s", timeoutMs: 100 })(body, never)).toMatchObject({ kind: "refused" });
    server.close();
  });

  test("that finds nobody is refused with the reason", async () => {
    const { url } = await openReceiver();
    const answer = await createWebhook({ url: url.replace(/:\d+/, ":1"), secret: "s" })(body, never);
    expect(answer).toMatchObject({ kind: "refused", isFinal: false });
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" ? address?.port : undefined;
    await new Promise((resolve) => server.close(resolve));
    expect(await createWebhook({ url: `http://127.0.0.1:${port}/`, secret: "s" })(body, never)).toMatchObject({
      kind: "refused",
      reason: "the request failed: ECONNREFUSED",
    });
  });

  test("is given up when it is told to", async () => {
    const { url, secret, received } = await openReceiver(() => new Promise<object>(() => {}));
    const giveUp = new AbortController();
    const answer = createWebhook({ url, secret })(body, giveUp.signal);
    while (received.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    giveUp.abort();
    expect(await answer).toMatchObject({ kind: "refused", isFinal: false });
  });
});

describe("a signature", () => {
  const header = sign("secret", "body", 1_000);
  const at = (seconds: number) => seconds * 1_000;

  test("verifies with its secret, body and time, for text and bytes alike", () => {
    expect(verifySignature("secret", header, "body", 300, at(1_000))).toBe(true);
    expect(verifySignature("secret", header, Buffer.from("body"), 300, at(1_300))).toBe(true);
    expect(verifySignature("secret", sign("secret", "é", 1_000), Buffer.from("é"), 300, at(1_000))).toBe(true);
  });

  test("is the HMAC-SHA256 that anybody computes", () => {
    // printf '1000.body' | openssl dgst -sha256 -hmac secret
    expect(header).toBe("t=1000,v1=b758bf26aabb35e5311bc10fd17ab6ad0881e9717e7d5fa7e233f3cea6868b45");
  });

  test("does not verify when anything was tampered with, or it is too old or too far ahead", () => {
    const verify = (tampered: string, body = "body", seconds = 1_000) =>
      verifySignature("secret", tampered, body, 300, at(seconds));
    expect(verify(header, "Body")).toBe(false);
    expect(verify(header.replace("t=1000", "t=1001"))).toBe(false);
    expect(verify(header.replace(/.$/, (hex) => (hex === "0" ? "1" : "0")))).toBe(false);
    expect(verify(header, "body", 1_301)).toBe(false);
    expect(verify(header, "body", 699)).toBe(false);
    for (const broken of [
      "",
      "t=1000",
      "v1=00",
      header.slice(0, -1),
      `${header}0`,
      header.toUpperCase(),
      `x${header}`,
    ]) {
      expect(verify(broken)).toBe(false);
    }
  });
});
