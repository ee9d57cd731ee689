import { createContextKey } from "@connectrpc/connect";
import { afterEach, describe, expect, test, vi } from "vitest";
import { CallContext, type CallContextInit } from "../../src/calls/context.ts";
import { AuthService } from "../../src/gen/mustreach/auth/v1/auth_pb.ts";
import { peerKey } from "../../src/observe/peer.ts";

const method = AuthService.method.parseToken;
const open = (init: Partial<CallContextInit> = {}) =>
  new CallContext({ method, protocolName: "grpc", url: "http://x/", headers: {}, peer: "10.0.0.7", ...init });

afterEach(() => {
  vi.useRealTimers();
});

test("says what is called, and from where", () => {
  const { service, protocolName, requestMethod, url, values } = open();
  expect(service.typeName).toBe("mustreach.auth.v1.AuthService");
  expect({ protocolName, requestMethod, url }).toEqual({
    protocolName: "grpc",
    requestMethod: "POST",
    url: "http://x/",
  });
  expect(values.get(peerKey)).toBe("10.0.0.7");
});

test("the headers of the request are those of the exchange, without what is none for the web", () => {
  const { requestHeader } = open({ headers: { ":path": "/", token: "a, b", "x-bin": "AAE", gone: undefined } });
  expect([...requestHeader]).toEqual([
    ["token", "a, b"],
    ["x-bin", "AAE"],
  ]);
});

describe("the headers of the answer", () => {
  test("are those that were set, also without the web's type", () => {
    const context = open();
    context.respondWith("operationid", "op-1");
    expect(context.responseFields).toEqual(["operationid", "op-1"]);
  });

  test("are the same ones for who asks for the web's type, before and after", () => {
    const context = open();
    context.respondWith("operationid", "op-1");
    context.responseHeader.append("X-Own", "1");
    context.respondWith("operationid", "op-2");
    expect(context.responseFields).toEqual(["operationid", "op-2", "x-own", "1"]);
  });

  test("have trailers for who asks for them", () => {
    const context = open();
    expect(context.trailers).toBeUndefined();
    context.responseTrailer.set("X-Sum", "7");
    expect([...(context.trailers ?? [])]).toEqual([["x-sum", "7"]]);
  });
});

describe("the signal", () => {
  test.each(["before", "after"])("fires once, with the first reason, for who asks for it %s", (when) => {
    const context = open();
    const onAbort = vi.fn();
    context.onAbort = onAbort;
    if (when === "before") expect(context.signal.aborted).toBe(false);
    context.abort("first");
    context.abort("second");
    expect(context.signal).toMatchObject({ aborted: true, reason: "first" });
    expect(context.abortReason).toBe("first");
    expect(onAbort.mock.calls).toEqual([["first"]]);
  });
});

test("the time that is left is counted from the start; without a limit it is undefined", () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  const context = open({ timeoutMs: 1_000 });
  vi.advanceTimersByTime(400);
  expect(context.timeoutMs()).toBe(600);
  expect(open().timeoutMs()).toBeUndefined();
});

test("values have the default of their key until they are set, and again when they are deleted", () => {
  const { values } = open();
  const key = createContextKey("none");
  expect(values.get(key)).toBe("none");
  expect(values.set(key, "one").get(key)).toBe("one");
  expect(values.delete(key).get(key)).toBe("none");
});
