import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { decodeMessage } from "../../src/calls/decode.ts";
import { toErrorFacts } from "../../src/errors.ts";
import {
  SendBusinessNotificationBatchRequestSchema,
  SendBusinessNotificationRequestSchema,
} from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { bind } from "../../src/json/bind.ts";

const real = globalThis.BigInt;
let longest = 0;

beforeEach(() => {
  longest = 0;
  // What is dear is seen, not timed.
  const watched = Object.assign(
    (value: Parameters<BigIntConstructor>[0]) => {
      longest = Math.max(longest, String(value).length);
      return real(value);
    },
    { asIntN: real.asIntN, asUintN: real.asUintN, prototype: real.prototype },
  );
  vi.stubGlobal("BigInt", watched);
});
afterEach(() => {
  vi.unstubAllGlobals();
});

const nines = "9".repeat(100_000);
const single = { sendUserID: "a", recvUserID: "b", key: "k", data: "d" };

test.each([
  ["by its documented name", SendBusinessNotificationRequestSchema, { ...single, sendAt: nines }],
  ["by the proto's name", SendBusinessNotificationRequestSchema, { ...single, send_at: nines }],
  [
    "in a message of a list",
    SendBusinessNotificationBatchRequestSchema,
    { notifications: [{ ...single, sendAt: nines }] },
  ],
])("a text of 100,000 digits is no 64-bit integer, and none is made of it: %s", (_, input, body) => {
  const text = JSON.stringify(body);
  expect(() => bind({ input }, text)).toThrow(/^sendAt: .* out of range$/);
  let thrown: unknown;
  try {
    decodeMessage(input, { isJson: true, isEnveloped: false }, Buffer.from(text));
  } catch (error) {
    thrown = error;
  }
  expect(toErrorFacts(thrown)).toMatchObject({ errCode: 1001 });
  expect(longest).toBeLessThanOrEqual(40);
});

test("one with its sign and zeros before it is", () => {
  const bound = bind({ input: SendBusinessNotificationRequestSchema }, JSON.stringify({ ...single, sendAt: "000123" }));
  expect(bound).toMatchObject({ sendAt: 123n });
});
