import { createHandlerContext } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { createAuthenticator, createAuthGate } from "../../src/auth/authenticate.ts";
import { callerKey } from "../../src/auth/caller.ts";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import { createTokenVerifier } from "../../src/auth/verify-token.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { AuthService } from "../../src/gen/mustreach/auth/v1/auth_pb.ts";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";

const secret = "openIM123";
const mint = createTokenMinter({ secret, ttlMs: 60_000 });
const authenticate = createAuthenticator(
  createTokenVerifier({ secret, adminUserIds: [], revokedAtMs: () => undefined }),
);
const { token: alice } = await mint({ userId: "alice", platformId: 5 });
const { token: bob } = await mint({ userId: "bob", platformId: 5 });

test.each<[string, Record<string, string>, string]>([
  ["the header token", { token: alice }, "alice"],
  ["the header token before authorization", { token: alice, authorization: `Bearer ${bob}` }, "alice"],
  ["authorization: Bearer", { authorization: `Bearer ${alice}` }, "alice"],
  ["authorization in any case", { Authorization: `bEARER   ${alice}  ` }, "alice"],
  ["authorization beside an empty token", { token: "", authorization: `Bearer ${bob}` }, "bob"],
])("the caller comes from %s", async (_, headers, userId) => {
  expect(await authenticate(new Headers(headers))).toMatchObject({ userId });
});

test.each<[string, Record<string, string>]>([
  ["no header", {}],
  ["an empty token", { token: "" }],
  ["an empty Bearer", { authorization: "Bearer " }],
  ["another scheme", { authorization: `Basic ${alice}` }],
  ["a bare token as authorization", { authorization: alice }],
])("%s is no token: OpenIM's 1001", async (_, headers) => {
  const thrown = await authenticate(new Headers(headers)).catch((error: unknown) => error);
  expect(toErrorFacts(thrown)).toEqual({ errCode: 1001, errMsg: "ArgsError", errDlt: "header must have token" });
});

test("a bad token header is not made good by authorization", async () => {
  const headers = new Headers({ token: "x", authorization: `Bearer ${alice}` });
  const thrown = await authenticate(headers).catch((error: unknown) => error);
  expect(toErrorFacts(thrown)).toMatchObject({ errCode: 1503 });
});

test("two tokens are none", async () => {
  const headers = new Headers([
    ["token", alice],
    ["token", bob],
  ]);
  const thrown = await authenticate(headers).catch((error: unknown) => error);
  expect(toErrorFacts(thrown).errCode).toBe(1503);
});

const gate = createAuthGate(authenticate);
const contextOf = (rpc: Pick<Parameters<typeof createHandlerContext>[0], "service" | "method">, headers: HeadersInit) =>
  createHandlerContext({
    ...rpc,
    protocolName: "rest",
    requestMethod: "POST",
    url: "http://127.0.0.1/",
    requestHeader: headers,
  });

test("the gate leaves the caller in the context, for any door that has one", async () => {
  const context = contextOf(
    { service: MsgService, method: MsgService.method.sendBusinessNotification },
    { token: bob },
  );
  await gate(context);
  expect(context.values.get(callerKey)).toMatchObject({ userId: "bob" });
});

test("only GetAdminToken and ParseToken pass without a token", async () => {
  const passes = await Promise.all(
    [AuthService, MsgService].flatMap((service) =>
      service.methods.map((method) =>
        gate(contextOf({ service, method }, {})).then(
          () => [method.name],
          () => [],
        ),
      ),
    ),
  );
  expect(passes.flat()).toEqual(["GetAdminToken", "ParseToken"]);
});
