import { createServer, type RequestListener } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { createFetchCalls } from "../../../src/client/web/fetch-calls.ts";
import { toFrame } from "../../../src/client/web/frames.ts";
import { toClientError } from "../../../src/client/wire/error.ts";
import { listen } from "../../helpers/listen.ts";

const options = { token: "t", signal: new AbortController().signal };
const ack = { deviceId: "web", sequence: 2n ** 63n, epoch: "e" };

async function useAnswer(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  const port = await listen(server);
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${port}/base/`;
}

const answerWith = (status: number, type: string, body: string | Uint8Array) =>
  useAnswer((_, response) => void response.writeHead(status, { "content-type": type }).end(body));

async function receiveAll(baseUrl: string): Promise<unknown[]> {
  const events: unknown[] = [];
  const request = { deviceId: "web", window: 0, start: 1 } as const;
  for await (const { event } of createFetchCalls(baseUrl).subscribe(request, options)) events.push(event.case);
  return events;
}

test("a call goes below baseUrl, with what the service is to know", async () => {
  const asked = Promise.withResolvers<unknown>();
  const baseUrl = await useAnswer(async (request, response) => {
    const body = JSON.parse(Buffer.concat(await request.toArray()).toString());
    const { token, "content-type": type } = request.headers;
    asked.resolve({ method: request.method, url: request.url, token, type, body });
    response.writeHead(200, { "content-type": "application/json" }).end('{"sequence":"9223372036854775808"}');
  });
  expect(await createFetchCalls(baseUrl).ack(ack, options)).toEqual({ sequence: 2n ** 63n });
  expect(await asked.promise).toEqual({
    method: "POST",
    url: "/base/mustreach.delivery.v1.DeliveryService/Ack",
    token: "t",
    type: "application/json",
    body: { deviceId: "web", sequence: "9223372036854775808", epoch: "e" },
  });
});

describe.each([
  ["a call", (baseUrl: string) => createFetchCalls(baseUrl).ack(ack, options)],
  ["a session", receiveAll],
])("%s that is answered by something in between", (_, run) => {
  test.each([
    [503, "text/html", "<p>busy", 90_004, "HTTP 503"],
    [502, "application/json", '{"message":"down"}', 90_004, "HTTP 502"],
    [429, "text/plain", "", 90_004, "HTTP 429"],
    [401, "text/html", "<p>log in", 1505, "HTTP 401"],
    [403, "text/html", "<p>no", 1002, "HTTP 403"],
    [404, "text/html", "<p>what", 500, "HTTP 404"],
    [200, "text/html", "<p>welcome", 500, "HTTP 200"],
  ])("with %d and %s has a code", async (status, type, body, errCode, errDlt) => {
    await expect(run(await answerWith(status, type, body))).rejects.toMatchObject({ errCode, errDlt });
  });
});

describe("an error of the service", () => {
  const info = {
    type: "google.rpc.ErrorInfo",
    debug: { metadata: { errCode: "1601", errMsg: "TooMany", errDlt: "slow" } },
  };
  const retry = { type: "google.rpc.RetryInfo", debug: { retryDelay: "1.500s" } };

  test.each([
    [
      "with facts",
      { code: "resource_exhausted", details: [retry, info] },
      { errCode: 1601, errDlt: "slow", retryAfterMs: 1_500 },
    ],
    ["that is not to be tried again", { code: "aborted", details: [info] }, { errCode: 1601, retryAfterMs: undefined }],
    ["without details", { code: "unavailable", message: "away" }, { errCode: 90_004, errDlt: "away" }],
    ["of a code that is not known", { code: "strange", message: "?" }, { errCode: 500, errDlt: "?" }],
  ])("%s is the same from a call and at the end of a session", async (_, error, expected) => {
    const call = createFetchCalls(await answerWith(429, "application/json", JSON.stringify(error))).ack(ack, options);
    await expect(call).rejects.toMatchObject(expected);
    const end = toFrame(JSON.stringify({ error }));
    end[0] = 2;
    await expect(receiveAll(await answerWith(200, "application/connect+json", end))).rejects.toMatchObject(expected);
  });
});

test("a session ends as the service says, and else it broke off", async () => {
  const ready = toFrame('{"ready":{}}');
  const end = toFrame("{}");
  end[0] = 2;
  const whole = Buffer.concat([ready, end]);
  expect(await receiveAll(await answerWith(200, "application/connect+json", whole))).toEqual(["ready"]);
  const broken = receiveAll(await answerWith(200, "application/connect+json", ready));
  await expect(broken).rejects.toMatchObject({ errCode: 90_004, errDlt: "the stream broke off" });
});

test("nobody there is a network that is broken", async () => {
  const thrown = await createFetchCalls("http://127.0.0.1:1")
    .ack(ack, options)
    .catch((error: unknown) => error);
  expect(toClientError(thrown)).toMatchObject({ errCode: 90_004, retryAfterMs: 0 });
});

test("an address that is none of HTTP is refused at once", () => {
  expect(() => createFetchCalls("ftp://127.0.0.1")).toThrow(TypeError);
});
