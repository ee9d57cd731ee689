import type { DescMethod } from "@bufbuild/protobuf";
import { expect, onTestFinished, test, vi } from "vitest";
import { createAuthenticator, createAuthGate } from "../../src/auth/authenticate.ts";
import { callerKey } from "../../src/auth/caller.ts";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import { createTokenVerifier } from "../../src/auth/verify-token.ts";
import { CallContext } from "../../src/calls/context.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { AuthService } from "../../src/gen/mustreach/auth/v1/auth_pb.ts";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import type { RequestHeaders } from "../../src/http2/exchange.ts";

const secret = "openIM123";
const mint = createTokenMinter({ secret, ttlMs: 60_000 });
const authenticator = createAuthenticator(
  createTokenVerifier({ secrets: { current: secret }, adminUserIds: [], revokedAtMs: () => undefined }),
);
/** By headers as they come over the wire: names in lower case, those of one name joined. */
const authenticate = async (headers: HeadersInit) => authenticator(Object.fromEntries(new Headers(headers)));
const { token: alice } = await mint({ userId: "alice", platformId: 5 });
const { token: bob } = await mint({ userId: "bob", platformId: 5 });

test.each<[string, Record<string, string>, string]>([
  ["the header token", { token: alice }, "alice"],
  ["the header token before authorization", { token: alice, authorization: `Bearer ${bob}` }, "alice"],
  ["authorization: Bearer", { authorization: `Bearer ${alice}` }, "alice"],
  ["authorization in any case", { Authorization: `bEARER   ${alice}  ` }, "alice"],
  ["authorization beside an empty token", { token: "", authorization: `Bearer ${bob}` }, "bob"],
])("the caller comes from %s", async (_, headers, userId) => {
  expect(await authenticate(headers)).toMatchObject({ userId });
});

test.each<[string, Record<string, string>]>([
  ["no header", {}],
  ["an empty token", { token: "" }],
  ["an empty Bearer", { authorization: "Bearer " }],
  ["another scheme", { authorization: `Basic ${alice}` }],
  ["a bare token as authorization", { authorization: alice }],
])("%s is no token: OpenIM's 1001", async (_, headers) => {
  const thrown = await authenticate(headers).catch((error: unknown) => error);
  expect(toErrorFacts(thrown)).toEqual({ errCode: 1001, errMsg: "ArgsError", errDlt: "header must have token" });
});

test("a bad token header is not made good by authorization", async () => {
  const headers = { token: "x", authorization: `Bearer ${alice}` };
  const thrown = await authenticate(headers).catch((error: unknown) => error);
  expect(toErrorFacts(thrown)).toMatchObject({ errCode: 1503 });
});

test("two tokens are none", async () => {
  const headers: [string, string][] = [
    ["token", alice],
    ["token", bob],
  ];
  const thrown = await authenticate(headers).catch((error: unknown) => error);
  expect(toErrorFacts(thrown).errCode).toBe(1503);
});

const gate = createAuthGate(authenticator);
const contextOf = (method: DescMethod, headers: RequestHeaders) =>
  new CallContext({ method, protocolName: "rest", url: "http://127.0.0.1/", headers, peer: "127.0.0.1" });

test("a token of our own needs no promise, and is still refused when it is not valid any more", async () => {
  const { token } = await mint({ userId: "carol", platformId: 5 });
  for (const _ of ["anew", "known"]) expect(authenticator({ token })).toMatchObject({ userId: "carol" });
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 61_000 });
  onTestFinished(() => void vi.useRealTimers());
  expect(() => authenticator({ token })).toThrow("the token has expired");
});

test("the gate leaves the caller in the context, for any door that has one", async () => {
  const context = contextOf(MsgService.method.sendBusinessNotification, { token: bob });
  await gate(context);
  expect(context.values.get(callerKey)).toMatchObject({ userId: "bob" });
});

test("only GetAdminToken and ParseToken pass without a token", async () => {
  const passes = await Promise.all(
    [AuthService, MsgService].flatMap(({ methods }) =>
      methods.map(async (method) => {
        try {
          await gate(contextOf(method, {}));
          return [method.name];
        } catch {
          return [];
        }
      }),
    ),
  );
  expect(passes.flat()).toEqual(["GetAdminToken", "ParseToken"]);
});
