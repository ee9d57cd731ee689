import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { type WebSocket as Peer, WebSocketServer } from "ws";
import { openSocketStream } from "../../../src/client/web/socket-stream.ts";

const often = { interval: 2 };

/** A stream to a service that does what the test says. */
async function setUp(window = 8) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => "mustreach.v1.json" });
  await once(server, "listening");
  const connected = Promise.withResolvers<Peer>();
  const said: unknown[] = [];
  let url = "";
  server.on("connection", (peer, request) => {
    url = request.url ?? "";
    peer.on("message", (data) => said.push(JSON.parse(String(data))));
    connected.resolve(peer);
  });
  const leaving = new AbortController();
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/base`;
  const stream = openSocketStream(
    baseUrl,
    { deviceId: "web", window, start: 1, afterSequence: 2n ** 64n - 1n, epoch: "e" },
    { token: "secret", signal: leaving.signal },
  );
  onTestFinished(() => {
    stream.close();
    for (const peer of server.clients) peer.terminate();
    server.close();
  });
  const peer = await connected.promise;
  const tell = (message: unknown) => peer.send(JSON.stringify(message));
  await vi.waitFor(() => expect(said).toHaveLength(1), often);
  return { stream, peer, tell, said, leaving, url: () => url };
}

test("the first message has the token and the place, and the address has neither", async () => {
  const { said, url } = await setUp();
  const subscribe = { deviceId: "web", window: 8, start: 1, afterSequence: "18446744073709551615", epoch: "e" };
  expect(said).toEqual([{ token: "secret", subscribe }]);
  expect(url()).toBe("/base/ws");
});

test("what the device says goes up, exactly", async () => {
  const { stream, said } = await setUp();
  stream.acknowledge({ sequence: 2n ** 64n - 1n, epoch: "e" });
  stream.pause();
  const expected = [{ acknowledge: { sequence: "18446744073709551615", epoch: "e" } }, { pause: { isPaused: true } }];
  await vi.waitFor(() => expect(said.slice(1)).toEqual(expected), often);
});

test("without a window of its own it grows for a device that keeps up", async () => {
  const { stream, tell, said } = await setUp(0);
  for (let sequence = 1; sequence <= 64; sequence++) tell({ notification: { sequence: String(sequence), data: "{}" } });
  for (let n = 0; n < 64; n++) await stream.next();
  stream.acknowledged(64n);
  await vi.waitFor(() => expect(said.at(-1)).toEqual({ changeWindow: { window: 256 } }), often);
});

test("a service that says nothing is asked for a sign of life", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  onTestFinished(() => void vi.useRealTimers());
  const { stream, tell, said } = await setUp();
  vi.advanceTimersByTime(20_000);
  expect(said).toHaveLength(1);
  vi.advanceTimersByTime(20_000);
  await vi.waitFor(() => expect(said.slice(1)).toEqual([{ ping: {} }]), often);
  tell({ pong: {} });
  expect(await stream.next()).toMatchObject({ done: false, value: { event: { case: undefined } } });
  vi.advanceTimersByTime(20_000);
  expect(said).toHaveLength(2);
});

test("what came is there before the end", async () => {
  const { stream, peer, tell } = await setUp();
  tell({ reconnect: { afterMs: 7 } });
  peer.close(1012);
  expect(await stream.next()).toMatchObject({ value: { event: { case: "reconnect", value: { afterMs: 7 } } } });
  expect(await stream.next()).toMatchObject({ done: true });
});

test.each([
  ["an error of the service", { errCode: 1601, errMsg: "TooMany", errDlt: "slow", retryAfterMs: 9 }],
  ["one that is final", { errCode: 1506, errMsg: "TokenKickedError", errDlt: "superseded" }],
])("%s is told whole", async (_, error) => {
  const { stream, peer, tell } = await setUp();
  tell({ error });
  peer.close(4429);
  await expect(stream.next()).rejects.toMatchObject({ retryAfterMs: undefined, ...error });
});

test.each([1001, 1008, 1011])("a close with %d is a broken network", async (code) => {
  const { stream, peer } = await setUp();
  peer.close(code);
  const errDlt = `the WebSocket was closed with ${code}`;
  await expect(stream.next()).rejects.toMatchObject({ errCode: 90_004, errDlt });
});

test("what is no JSON ends the stream", async () => {
  const { stream, peer } = await setUp();
  peer.send("{");
  await expect(stream.next()).rejects.toThrow(SyntaxError);
});

test("the signal ends a stream that waits", async () => {
  const { stream, peer, leaving } = await setUp();
  const closed = once(peer, "close");
  const next = stream.next();
  leaving.abort(new Error("enough"));
  await expect(next).rejects.toThrow("enough");
  stream.close();
  await closed;
});
