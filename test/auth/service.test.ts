import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import { afterEach, describe, expect, test, vi } from "vitest";
import { createAuthenticator, createAuthGate } from "../../src/auth/authenticate.ts";
import { createGuessLimit } from "../../src/auth/get-admin-token.ts";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import { createAuthService } from "../../src/auth/service.ts";
import { createTokenVerifier } from "../../src/auth/verify-token.ts";
import { failure, retryAfterMsOf, toErrorFacts } from "../../src/errors.ts";
import { AuthService } from "../../src/gen/mustreach/auth/v1/auth_pb.ts";

const secret = "openIM123";
const adminUserIds = ["imAdmin", "openIMAdmin"];

/** The service behind its gate, as every door has it; revocations are kept in a map. */
function openService(options: { readonly ttlMs?: number; readonly revoke?: () => void } = {}) {
  const { ttlMs = 7_776_000_000, revoke = () => {} } = options;
  const revoked = new Map<string, number>();
  const peer = { address: "10.0.0.7" };
  const verify = createTokenVerifier({
    secrets: { current: secret },
    adminUserIds,
    revokedAtMs: (userId, platformId) => revoked.get(`${platformId} ${userId}`),
  });
  const service = createAuthService({
    secrets: () => ({ current: secret }),
    adminUserIds,
    mint: createTokenMinter({ secret, ttlMs }),
    verify,
    guesses: createGuessLimit(),
    peerOf: () => peer.address,
    revoke: async (userId, platformId, atMs) => {
      revoke();
      revoked.set(`${platformId} ${userId}`, atMs);
    },
    issueTicket: ({ userId }) => ({ ticket: `ticket of ${userId}`, expireTimeSeconds: 30 }),
  });
  const gate = createAuthGate(createAuthenticator(verify));
  const transport = createRouterTransport((router) => void router.service(AuthService, service), {
    router: {
      requestGate: async ({ method, values, requestHeader }) =>
        gate({ method, values, headers: Object.fromEntries(requestHeader) }),
    },
  });
  const client = createClient(AuthService, transport);
  return {
    client,
    revoked,
    peer,
    asAdmin: async () => {
      const { token } = await client.getAdminToken({ secret, userId: "imAdmin" });
      return { headers: { token } };
    },
    async asUser(userId: string, platformId = 5) {
      const { token } = await client.getUserToken({ userId, platformId }, await this.asAdmin());
      return { headers: { token } };
    },
  };
}

async function factsOf(call: Promise<unknown>) {
  const thrown = await call.then(
    (answer) => answer,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(ConnectError);
  return toErrorFacts(thrown);
}

describe("GetAdminToken", () => {
  test("mints an admin's token for who knows the secret, and needs no token", async () => {
    const { client } = openService();
    const { token, expireTimeSeconds } = await client.getAdminToken({ secret, userId: "openIMAdmin" });
    expect(expireTimeSeconds).toBe(7_776_000n);
    expect(await client.parseToken({ token })).toMatchObject({ userId: "openIMAdmin", platformId: 10 });
  });

  test.each([
    ["a wrong secret", 1002, "openIM124", "imAdmin"],
    ["an empty secret", 1002, "", "imAdmin"],
    ["a longer secret", 1002, "openIM1234", "imAdmin"],
    ["a wrong secret for who is no admin", 1002, "openIM124", "alice"],
    ["a user that is no admin", 1001, secret, "alice"],
    ["no user", 1001, secret, ""],
    ["no user and a wrong secret", 1001, "openIM124", ""],
  ])("refuses %s with %d", async (_, errCode, given, userId) => {
    const facts = await factsOf(openService().client.getAdminToken({ secret: given, userId }));
    expect(facts.errCode).toBe(errCode);
    expect(facts.errDlt).not.toContain("openIM12");
  });
});

describe("wrong secrets", () => {
  afterEach(() => void vi.useRealTimers());

  test("from one address are slowed after ten, the right one with them, and nobody else is", async () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    const { client, peer } = openService();
    const guess = (given: string) => client.getAdminToken({ secret: given, userId: "imAdmin" });
    for (let n = 0; n < 10; n++) expect(await factsOf(guess(`guess ${n}`))).toMatchObject({ errCode: 1002 });

    for (const given of ["guess 10", secret]) {
      const refused = await guess(given).catch((error: unknown) => error);
      expect(toErrorFacts(refused)).toMatchObject({ errCode: 429, errMsg: "TooManyRequestsError" });
      expect(retryAfterMsOf(refused)).toBe(6_000);
    }
    peer.address = "10.0.0.8";
    await guess(secret);
    peer.address = "10.0.0.7";

    vi.advanceTimersByTime(5_999);
    expect(await factsOf(guess(secret))).toMatchObject({ errCode: 429 });
    vi.advanceTimersByTime(1);
    await guess(secret);
    expect(await factsOf(guess("guess 11"))).toMatchObject({ errCode: 1002 });
    expect(await factsOf(guess(secret))).toMatchObject({ errCode: 429 });
  });
});

describe("GetUserToken", () => {
  test("mints a token for any user and platform", async () => {
    const { client, asAdmin } = openService({ ttlMs: 90_000 });
    const admin = await asAdmin();
    const beganS = Math.floor(Date.now() / 1_000);
    const { token, expireTimeSeconds } = await client.getUserToken({ userId: "日本", platformId: 11 }, admin);
    expect(expireTimeSeconds).toBe(90n);
    const parsed = await client.parseToken({ token });
    expect(parsed).toMatchObject({ userId: "日本", platformId: 11 });
    expect(Number(parsed.expireTimeSeconds)).toBeGreaterThanOrEqual(beganS + 90);
    expect(Number(parsed.expireTimeSeconds)).toBeLessThanOrEqual(Math.ceil(Date.now() / 1_000) + 90);
  });

  test.each([
    ["no user", 1001, "", 5],
    ["a user id that is too long", 1001, "x".repeat(1_025), 5],
    ["a user id with a control character", 1001, "a\u0000b", 5],
    ["no platform", 1001, "alice", 0],
    ["an unknown platform", 1001, "alice", 12],
    ["a negative platform", 1001, "alice", -1],
    ["the platform of admins", 1002, "alice", 10],
    ["an admin's user id", 1002, "imAdmin", 5],
  ])("refuses %s with %d", async (_, errCode, userId, platformId) => {
    const { client, asAdmin } = openService();
    expect((await factsOf(client.getUserToken({ userId, platformId }, await asAdmin()))).errCode).toBe(errCode);
  });

  test("refuses who is no admin with 1002, after a bad argument with 1001", async () => {
    const service = openService();
    const alice = await service.asUser("alice");
    expect(await factsOf(service.client.getUserToken({ userId: "bob", platformId: 5 }, alice))).toMatchObject({
      errCode: 1002,
      errMsg: "NoPermissionError",
    });
    expect((await factsOf(service.client.getUserToken({ platformId: 5 }, alice))).errCode).toBe(1001);
  });
});

describe("ParseToken", () => {
  test("needs no other token and says what is wrong with a bad one", async () => {
    const { client } = openService();
    expect(await factsOf(client.parseToken({ token: "" }))).toMatchObject({ errCode: 1001 });
    expect(await factsOf(client.parseToken({ token: "x" }))).toMatchObject({ errCode: 1503 });
    const { token } = await createTokenMinter({ secret: "another secret", ttlMs: 60_000 })({
      userId: "a",
      platformId: 1,
    });
    expect(await factsOf(client.parseToken({ token }))).toMatchObject({ errCode: 1505 });
  });
});

describe("ForceLogout", () => {
  test("revokes what was minted before, and a token minted after the answer is valid at once", async () => {
    const service = openService();
    const admin = await service.asAdmin();
    for (let round = 0; round < 20; round++) {
      const { token: before } = await service.client.getUserToken({ userId: "alice", platformId: 5 }, admin);
      const { token: elsewhere } = await service.client.getUserToken({ userId: "alice", platformId: 1 }, admin);
      await service.client.forceLogout({ userId: "alice", platformId: 5 }, admin);
      const { token: after } = await service.client.getUserToken({ userId: "alice", platformId: 5 }, admin);
      expect(await factsOf(service.client.parseToken({ token: before }))).toMatchObject({ errCode: 1506 });
      await service.client.parseToken({ token: elsewhere });
      await service.client.parseToken({ token: after });
    }
  });

  test("a revoked token opens nothing any more", async () => {
    const service = openService();
    const admin = await service.asAdmin();
    await service.client.forceLogout({ userId: "imAdmin", platformId: 10 }, admin);
    const facts = await factsOf(service.client.forceLogout({ userId: "alice", platformId: 5 }, admin));
    expect(facts).toMatchObject({ errCode: 1506, errMsg: "TokenKickedError" });
    expect([...service.revoked.keys()]).toEqual(["10 imAdmin"]);
  });

  test.each([
    ["no user", "", 5],
    ["no platform", "alice", 0],
    ["an unknown platform", "alice", 12],
  ])("refuses %s with 1001", async (_, userId, platformId) => {
    const { client, asAdmin, revoked } = openService();
    expect((await factsOf(client.forceLogout({ userId, platformId }, await asAdmin()))).errCode).toBe(1001);
    expect(revoked.size).toBe(0);
  });

  test("refuses who is no admin with 1002, after a bad argument with 1001", async () => {
    const service = openService();
    const alice = await service.asUser("alice");
    expect((await factsOf(service.client.forceLogout({ userId: "bob", platformId: 5 }, alice))).errCode).toBe(1002);
    expect((await factsOf(service.client.forceLogout({ userId: "bob" }, alice))).errCode).toBe(1001);
    expect(service.revoked.size).toBe(0);
  });

  test("says 90004 when the broker does not store it", async () => {
    const revoke = () => {
      throw failure("NetworkError", "the broker did not store the revocation");
    };
    const { client, asAdmin } = openService({ revoke });
    expect(await factsOf(client.forceLogout({ userId: "alice", platformId: 5 }, await asAdmin()))).toMatchObject({
      errCode: 90004,
    });
  });
});

test("without a token it is the gate that answers, not the checks of the body", async () => {
  const { client } = openService();
  for (const call of [client.getUserToken({}), client.forceLogout({})]) {
    const thrown = await call.catch((error: unknown) => error);
    expect(thrown).toMatchObject({ code: Code.Unauthenticated });
    expect(toErrorFacts(thrown)).toEqual({ errCode: 1001, errMsg: "ArgsError", errDlt: "header must have token" });
  }
});
