import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import type { WebhookBody } from "../../src/reaching/webhook-body.ts";
import { createWebhook as createPost, sign, type WebhookOptions } from "../../src/webhook/post.ts";
import { useReceivers, verify } from "../helpers/escalation.ts";
import { listen } from "../helpers/listen.ts";

const openReceiver = useReceivers();
const anotherSecret = `whsec_${Buffer.alloc(24, 7).toString("base64")}`;
const never = new AbortController().signal;
/** Posts escalations, as the service does. */
const createWebhook = (options: WebhookOptions) => {
  const post = createPost(options);
  return (content: WebhookBody, signal: AbortSignal) => post(content.escalationID, content, signal);
};
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
    collapseKey: "",
    reliabilityLevel: 2,
    sequence: 7,
  },
};

describe("a request", () => {
  test("is JSON, signed, and names the escalation", async () => {
    const { url, keys, received } = await openReceiver();
    expect(await createWebhook({ url, keys })(body, never)).toEqual({ kind: "taken" });
    const [request] = received;
    expect(request?.body).toEqual(body);
    expect(request?.headers).toMatchObject({
      "content-type": "application/json",
      "webhook-id": "0123-0-7",
      "webhook-timestamp": expect.stringMatching(/^\d{10}$/),
      "webhook-signature": expect.stringMatching(/^v1,[A-Za-z0-9+/]{43}=$/),
    });
    expect(request?.headers).not.toHaveProperty("mustreach-signature");
    expect(verify(request ?? { text: "", headers: {} })).toEqual(body);
    expect(() => verify(request ?? { text: "", headers: {} }, anotherSecret)).toThrow("No matching signature");
    expect(() => verify({ text: `${request?.text} `, headers: request?.headers ?? {} })).toThrow("No matching");
  });

  test("is signed with each key, so that receivers can change theirs one after the other", async () => {
    const { url, keys, received } = await openReceiver();
    const newest = Buffer.from(anotherSecret.slice("whsec_".length), "base64");
    await createWebhook({ url, keys: [newest, ...keys] })(body, never);
    const [request] = received;
    if (request === undefined) throw new Error("nothing was posted");
    expect(verify(request)).toEqual(body);
    expect(verify(request, anotherSecret)).toEqual(body);
    const [first] = String(request.headers["webhook-signature"]).split(" ");
    expect(verify({ ...request, headers: { ...request.headers, "webhook-signature": first } }, anotherSecret)).toEqual(
      body,
    );
  });

  test("of another attempt has the same webhook-id", async () => {
    const { url, keys, received } = await openReceiver();
    for (const attempt of [1, 2]) await createWebhook({ url, keys })({ ...body, attempt }, never);
    expect(received.map(({ headers }) => headers["webhook-id"])).toEqual(["0123-0-7", "0123-0-7"]);
    expect(verify(received[1] ?? { text: "", headers: {} })).toMatchObject({ attempt: 2 });
  });

  test.each([200, 201, 202, 204, 299])("is taken by a %i", async (status) => {
    const { url, keys } = await openReceiver(() => ({ status }));
    expect(await createWebhook({ url, keys })(body, never)).toEqual({ kind: "taken" });
  });

  test.each([400, 401, 404, 429, 500, 503])("is refused by a %i, not for good", async (status) => {
    const { url, keys } = await openReceiver(() => ({ status }));
    const answer = await createWebhook({ url, keys })(body, never);
    expect(answer).toEqual({ kind: "refused", reason: `HTTP ${status}`, isFinal: false, retryAfterMs: undefined });
  });

  test("is refused for good by a 410", async () => {
    const { url, keys } = await openReceiver(() => ({ status: 410, text: "unknown user" }));
    const answer = await createWebhook({ url, keys })(body, never);
    expect(answer).toMatchObject({ kind: "refused", reason: "HTTP 410 unknown user", isFinal: true });
  });

  test.each([301, 302, 303, 307, 308])("is not sent on by a %i", async (status) => {
    const elsewhere = await openReceiver();
    const { url, keys } = await openReceiver(() => ({ status, headers: { location: elsewhere.url } }));
    const answer = await createWebhook({ url, keys })(body, never);
    expect(answer).toMatchObject({ kind: "refused", reason: `HTTP ${status}` });
    expect(elsewhere.received).toEqual([]);
  });

  test("keeps the first 200 characters of a refusal, on one line", async () => {
    const { url, keys } = await openReceiver(() => ({ status: 500, text: `a\r\n\tb\u0007 ${"😀".repeat(500_000)}` }));
    const answer = await createWebhook({ url, keys })(body, never);
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
    const inHalfAnHour = await retryAfter(new Date(Date.now() + 1_800_000).toUTCString());
    expect(inHalfAnHour).toBeGreaterThan(1_000_000);
    expect(inHalfAnHour).toBeLessThanOrEqual(1_800_000);
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
    });
    const port = await listen(server);
    const url = `http://127.0.0.1:${port}/`;
    expect(await createWebhook({ url, keys: [], timeoutMs: 100 })(body, never)).toMatchObject({ kind: "refused" });
    server.close();
  });

  test("that finds nobody is refused with the reason", async () => {
    const { url } = await openReceiver();
    const answer = await createWebhook({ url: url.replace(/:\d+/, ":1"), keys: [] })(body, never);
    expect(answer).toMatchObject({ kind: "refused", isFinal: false });
    const server = createServer();
    const port = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    expect(await createWebhook({ url: `http://127.0.0.1:${port}/`, keys: [] })(body, never)).toMatchObject({
      kind: "refused",
      reason: "the request failed: ECONNREFUSED",
    });
  });

  test("is given up when it is told to", async () => {
    const { url, keys, received } = await openReceiver(() => new Promise<object>(() => {}));
    const giveUp = new AbortController();
    const answer = createWebhook({ url, keys })(body, giveUp.signal);
    while (received.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    giveUp.abort();
    expect(await answer).toMatchObject({ kind: "refused", isFinal: false });
  });
});

test("a signature is the one that the libraries of Standard Webhooks are tested with", () => {
  // https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/rust/src/lib.rs
  const key = Buffer.from("C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "base64");
  const headers = sign(
    [key],
    "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
    1_649_367_553,
    '{"email":"test@example.com","username":"test_user"}',
  );
  expect(headers).toEqual({
    "webhook-id": "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
    "webhook-timestamp": "1649367553",
    "webhook-signature": "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
  });
});
