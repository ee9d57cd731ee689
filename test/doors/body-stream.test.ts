import { expect, test } from "vitest";
import { BodyStream } from "../../src/doors/body-stream.ts";
import { pausableExchange } from "../helpers/pausable-exchange.ts";

function open() {
  const { state, exchange } = pausableExchange();
  return { state, body: new BodyStream(exchange) };
}

const toText = (pieces: readonly Uint8Array[]) => Buffer.concat(pieces).toString();

test("gives what comes, before and after it is asked for, and keeps bytes that are reused", async () => {
  const { body } = open();
  const bytes = Buffer.from("one ");
  body.onData(bytes);
  bytes.fill("x");
  const reading = Array.fromAsync(body);
  await Promise.resolve();
  body.onData(Buffer.from("two "));
  await new Promise((resolve) => setImmediate(resolve));
  body.onData(Buffer.from("three"));
  body.onEnd();
  expect(toText(await reading)).toBe("one two three");
});

test("holds up its peer while 64 KiB wait to be read", async () => {
  const { state, body } = open();
  body.onData(Buffer.alloc(65_000));
  expect(state.isPaused).toBe(false);
  body.onData(Buffer.alloc(600));
  expect(state.isPaused).toBe(true);
  const reader = body[Symbol.asyncIterator]();
  await reader.next();
  expect(state.isPaused).toBe(false);
});

test("holds up a peer whose pieces are of a byte each when they take 64 KiB, which is soon", () => {
  const { state, body } = open();
  let pieces = 0;
  for (; !state.isPaused; pieces++) body.onData(Buffer.alloc(1));
  expect(pieces).toBeLessThan(600);
});

test("fails when it is cut off", async () => {
  const { body } = open();
  body.onData(Buffer.from("half"));
  const reading = Array.fromAsync(body);
  body.onClose(false);
  await expect(reading).rejects.toThrow("cut off");
});

test("is whole although the exchange is over", async () => {
  const { body } = open();
  body.onData(Buffer.from("all"));
  body.onEnd();
  body.onClose(true);
  expect(toText(await Array.fromAsync(body))).toBe("all");
});
