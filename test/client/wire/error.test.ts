import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { fromConnectError } from "../../../src/client/connect/error.ts";
import { MustreachClientError } from "../../../src/client/index.ts";
import { isFatal, toClientError } from "../../../src/client/wire/error.ts";
import { type ErrorName, errorTable, failure } from "../../../src/errors.ts";

test.each(Object.keys(errorTable) as ErrorName[])("the facts of %s are those of the error table", (name) => {
  const thrown = failure(name, "what was wrong");
  const error = fromConnectError(thrown);
  expect(error).toBeInstanceOf(MustreachClientError);
  expect(error).toMatchObject({ errCode: errorTable[name].errCode, errMsg: name, errDlt: "what was wrong" });
  expect(error.message).toBe(`${name} (${errorTable[name].errCode}): what was wrong`);
  expect(error.cause).toBe(thrown);
  expect(fromConnectError(error)).toBe(error);
  expect(toClientError(error)).toBe(error);
});

test.each([
  ["a failed fetch", new TypeError("fetch failed"), 90004],
  ["a stream that was cut off", "missing EndStreamResponse", 90004],
  ["a timeout", new DOMException("too late", "TimeoutError"), 90004],
  ["a busy proxy", new ConnectError("HTTP 503", Code.Unavailable), 90004],
  ["a proxy that wants a login", new ConnectError("HTTP 401", Code.Unauthenticated), 1505],
  ["a proxy that forbids", new ConnectError("HTTP 403", Code.PermissionDenied), 1002],
  ["a wrong address", new ConnectError("HTTP 404", Code.Unimplemented), 500],
])("%s has a code although the service did not give it", (_, thrown, errCode) => {
  expect(fromConnectError(thrown).errCode).toBe(errCode);
  if (!(thrown instanceof ConnectError)) expect(toClientError(thrown)).toMatchObject({ errCode, cause: thrown });
});

test("an error tells whether and when to try again as the error table does", () => {
  for (const name of Object.keys(errorTable) as ErrorName[]) {
    const row = errorTable[name];
    const expected = "retryAfterMs" in row ? row.retryAfterMs : undefined;
    expect([name, fromConnectError(failure(name, "")).retryAfterMs]).toEqual([name, expected]);
  }
  const longer = failure("TooManyRequestsError", "", undefined, { retryAfterMs: 12_345 });
  expect(fromConnectError(longer).retryAfterMs).toBe(12_345);
  expect(fromConnectError(new TypeError("fetch failed")).retryAfterMs).toBe(0);
  expect(fromConnectError(new ConnectError("HTTP 404", Code.Unimplemented)).retryAfterMs).toBeUndefined();
});

test("errors that asking again does not cure are fatal", () => {
  const fatal = (Object.keys(errorTable) as ErrorName[]).filter((name) => isFatal(fromConnectError(failure(name, ""))));
  expect(fatal.map((name) => errorTable[name].errCode)).toEqual([1001, 1002, 1501, 1502, 1503, 1504, 1505, 1506, 1507]);
});
