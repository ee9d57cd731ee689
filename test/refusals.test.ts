import { ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { failure, retryAfterMsOf, toErrorFacts } from "../src/errors.ts";
import { pushStatus } from "../src/grpc/status.ts";
import { createRefusals } from "../src/refusals.ts";

const refuse = createRefusals("TooManyRequestsError", "test");

function statusOf(error: ConnectError): string[] {
  const trailers: string[] = [];
  pushStatus(trailers, error);
  return trailers;
}

test("a refusal is what failure makes, with at least the wait, and made once for waits that are alike", () => {
  expect(refuse(501)).toBe(refuse(510));
  expect(retryAfterMsOf(refuse(501))).toBe(510);
  expect(retryAfterMsOf(refuse(511))).toBe(520);
  expect(toErrorFacts(refuse(501))).toEqual({ errCode: 429, errMsg: "TooManyRequestsError", errDlt: "test" });
  expect(refuse(501)).toBeInstanceOf(ConnectError);
});

test("one of a long wait is not kept", () => {
  expect(refuse(3_600_000)).not.toBe(refuse(3_600_000));
  expect(retryAfterMsOf(refuse(3_600_000))).toBe(3_600_000);
});

test("on the wire of gRPC it is the same each time", () => {
  const made = statusOf(failure("TooManyRequestsError", "test", undefined, { retryAfterMs: 510 }));
  expect(statusOf(refuse(501))).toEqual(made);
  expect(statusOf(refuse(501))).toEqual(made);
});

test("an answer captures no stack; a fault of ours does, and so does what comes after", () => {
  expect(failure("ArgsError", "test").stack).not.toContain("\n");
  expect(failure("ServerInternalError", "test").stack).toContain("refusals.test.ts");
  expect(new Error("test").stack).toContain("refusals.test.ts");
});
