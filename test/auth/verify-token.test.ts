import { createHmac, createPublicKey } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import fc from "fast-check";
import { decodeJwt, exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import { createTokenVerifier, type JwksOptions, type TokenVerifier } from "../../src/auth/verify-token.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { fuzz } from "../helpers/fuzz.ts";
import { listen } from "../helpers/listen.ts";

const secret = "openIM123";
const adminUserIds = ["imAdmin", "openIMAdmin"];
const nowS = () => Math.floor(Date.now() / 1_000);
const claims = () => ({ UserID: "alice", PlatformID: 5, exp: nowS() + 7_776_000, iat: nowS() - 5 });
const openimVerifier = () =>
  createTokenVerifier({ secrets: { current: secret }, adminUserIds, revokedAtMs: () => undefined });

/** A token as any JWT implementation makes it, with no line of code in common with the one under test. */
function signByHand(payload: unknown, { alg = "HS256", key = secret, header = {} as object } = {}): string {
  const encode = (part: unknown) =>
    Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");
  const input = `${encode({ alg, typ: "JWT", ...header })}.${encode(payload)}`;
  return `${input}.${createHmac(`sha${alg.slice(2)}`, key)
    .update(input)
    .digest("base64url")}`;
}

async function thrownBy(verify: TokenVerifier, token: string): Promise<unknown> {
  try {
    await verify(token);
  } catch (error) {
    return error;
  }
  return expect.fail("it was accepted");
}

/** What the caller of a refused token is told, which never holds a part of the token. */
async function refusal(verify: TokenVerifier, token: string) {
  const thrown = await thrownBy(verify, token);
  const facts = toErrorFacts(thrown);
  for (const part of token.split(".")) if (part.length > 8) expect(facts.errDlt).not.toContain(part);
  return facts;
}

afterEach(() => {
  vi.useRealTimers();
});

describe("OpenIM's tokens", () => {
  test("a minted token is accepted and says what was minted, to the millisecond", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: 1_763_850_000_123 });
    const { token } = await createTokenMinter({ secret, ttlMs: 60_000 })({ userId: "日本", platformId: 1 });
    expect(await openimVerifier()(token)).toEqual({
      userId: "日本",
      platformId: 1,
      isAdmin: false,
      issuedAtMs: 1_763_850_000_123,
      expiresAtMs: 1_763_850_061_000,
    });
  });

  test("a token of 0.1.0, whose iat has a fraction, says the millisecond too", async () => {
    const iat = nowS() - 5 + 0.123;
    expect(await openimVerifier()(signByHand({ ...claims(), iat }))).toMatchObject({ issuedAtMs: iat * 1_000 });
  });

  test("an iatMs of another second than iat is not believed", async () => {
    const { iat } = claims();
    for (const iatMs of [(iat + 1) * 1_000, iat * 1_000 - 1, "now", null, 1e300]) {
      expect(await openimVerifier()(signByHand({ ...claims(), iat, iatMs }))).toMatchObject({
        issuedAtMs: iat * 1_000,
      });
    }
  });

  test("of two tokens minted in one second, with a logout between them, the one from before is revoked", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: 1_763_850_000_500 });
    const verify = createTokenVerifier({
      secrets: { current: secret },
      adminUserIds,
      revokedAtMs: () => 1_763_850_000_500,
    });
    const mint = createTokenMinter({ secret, ttlMs: 60_000 });
    const mintAt = (ms: number) => {
      vi.setSystemTime(ms);
      return mint({ userId: "alice", platformId: 5 });
    };
    const iats: unknown[] = [];
    for (const [ms, isRevoked] of [
      [1_763_850_000_499, true],
      [1_763_850_000_500, true],
      [1_763_850_000_501, false],
    ] as const) {
      const { token } = await mintAt(ms);
      iats.push(decodeJwt(token).iat);
      if (isRevoked) expect(await refusal(verify, token)).toMatchObject({ errCode: 1506 });
      else expect(await verify(token)).toMatchObject({ issuedAtMs: ms });
    }
    expect(iats).toEqual([1_763_850_000, 1_763_850_000, 1_763_850_000]);
  });

  test("a token of an OpenIM server with the same secret is accepted", async () => {
    const { exp, iat } = claims();
    expect(await openimVerifier()(signByHand({ UserID: "imAdmin", PlatformID: 10, exp, iat }))).toEqual({
      userId: "imAdmin",
      platformId: 10,
      isAdmin: true,
      issuedAtMs: iat * 1_000,
      expiresAtMs: exp * 1_000,
    });
  });

  test.each<[string, string, object]>([
    ["a plain one", signByHand(claims()), { userId: "alice" }],
    ["one with a kid", signByHand(claims(), { header: { kid: "1" } }), { userId: "alice" }],
    [
      "one whose claims begin with a byte order mark",
      signByHand(`\ufeff${JSON.stringify(claims())}`),
      { userId: "alice" },
    ],
    ["one whose nbf has come", signByHand({ ...claims(), nbf: nowS() }), { userId: "alice" }],
  ])("%s is judged the same, with a promise or without", async (_, token, caller) => {
    expect(await openimVerifier()(token)).toMatchObject(caller);
  });

  test("admins are those in the list, on any platform", async () => {
    const verify = openimVerifier();
    const isAdmin = async (UserID: string) => (await verify(signByHand({ ...claims(), UserID }))).isAdmin;
    expect(await Promise.all(["imAdmin", "openIMAdmin", "alice", "imadmin"].map(isAdmin))).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  test("a token without PlatformID is for no platform, one without iat was issued at 0", async () => {
    const { UserID, exp } = claims();
    expect(await openimVerifier()(signByHand({ UserID, exp }))).toMatchObject({ platformId: 0, issuedAtMs: 0 });
    expect(await openimVerifier()(signByHand({ UserID, exp, PlatformID: 0 }))).toMatchObject({ platformId: 0 });
  });

  const parts = signByHand(claims()).split(".");
  const { exp, iat, ...noTimes } = claims();
  test.each<[string, number, string, string]>([
    ["empty", 1503, "TokenMalformedError", ""],
    ["no JWT", 1503, "TokenMalformedError", "not a token"],
    ["two parts", 1503, "TokenMalformedError", parts.slice(0, 2).join(".")],
    ["four parts", 1503, "TokenMalformedError", `${parts.join(".")}.x`],
    ["a header that is not JSON", 1503, "TokenMalformedError", ["bm90IGpzb24", ...parts.slice(1)].join(".")],
    ["a header that is not base64url", 1503, "TokenMalformedError", ["ä€", ...parts.slice(1)].join(".")],
    ["a header without alg", 1503, "TokenMalformedError", signByHand(claims(), { header: { alg: undefined } })],
    ["a payload that is not JSON", 1503, "TokenMalformedError", signByHand("not json")],
    ["a payload that is no object", 1503, "TokenMalformedError", signByHand([1])],
    ["a signature that is not base64url", 1503, "TokenMalformedError", [...parts.slice(0, 2), "ä€!"].join(".")],
    ["longer than 8 KiB", 1503, "TokenMalformedError", signByHand({ ...claims(), more: "x".repeat(8_192) })],
    ["no UserID", 1503, "TokenMalformedError", signByHand({ ...claims(), UserID: undefined })],
    ["no UserID but a sub", 1503, "TokenMalformedError", signByHand({ ...claims(), UserID: undefined, sub: "alice" })],
    ["an empty UserID", 1503, "TokenMalformedError", signByHand({ ...claims(), UserID: "" })],
    ["a UserID that is a number", 1503, "TokenMalformedError", signByHand({ ...claims(), UserID: 7 })],
    ["a UserID with a control character", 1503, "TokenMalformedError", signByHand({ ...claims(), UserID: "a\nb" })],
    ["a UserID that is too long", 1503, "TokenMalformedError", signByHand({ ...claims(), UserID: "x".repeat(1_025) })],
    ["an unknown PlatformID", 1503, "TokenMalformedError", signByHand({ ...claims(), PlatformID: 12 })],
    ["a fractional PlatformID", 1503, "TokenMalformedError", signByHand({ ...claims(), PlatformID: 1.5 })],
    ["a PlatformID that is text", 1503, "TokenMalformedError", signByHand({ ...claims(), PlatformID: "5" })],
    ["no exp", 1503, "TokenMalformedError", signByHand({ ...noTimes, iat })],
    ["an exp that is text", 1503, "TokenMalformedError", signByHand({ ...noTimes, iat, exp: String(exp) })],
    ["an endless exp", 1503, "TokenMalformedError", signByHand(`{"UserID":"alice","PlatformID":5,"exp":1e999}`)],
    ["an nbf that is text", 1503, "TokenMalformedError", signByHand({ ...claims(), nbf: "now" })],
    ["an iat that is text", 1503, "TokenMalformedError", signByHand({ ...noTimes, exp, iat: "now" })],
    ["an endless iat", 1503, "TokenMalformedError", signByHand(`{"UserID":"alice","exp":${exp},"iat":1e999}`)],
    ["expired", 1501, "TokenExpiredError", signByHand({ ...claims(), exp: nowS() })],
    ["long expired", 1501, "TokenExpiredError", signByHand({ ...claims(), exp: 1 })],
    ["nbf ahead", 1504, "TokenNotValidYetError", signByHand({ ...claims(), nbf: nowS() + 60 })],
    ["iat far ahead", 1504, "TokenNotValidYetError", signByHand({ ...claims(), iat: nowS() + 120 })],
    ["another secret", 1505, "TokenUnknownError", signByHand(claims(), { key: "openIM124" })],
    ["another payload", 1505, "TokenUnknownError", [parts[0], signByHand(noTimes).split(".")[1], parts[2]].join(".")],
    ["no signature", 1505, "TokenUnknownError", `${parts[0]}.${parts[1]}.`],
    ["expired and another secret", 1505, "TokenUnknownError", signByHand({ ...claims(), exp: 1 }, { key: "wrong" })],
    ["alg none", 1505, "TokenUnknownError", signByHand(claims(), { header: { alg: "none" } })],
    [
      "alg none, no signature",
      1505,
      "TokenUnknownError",
      signByHand(claims(), { header: { alg: "none" } }).replace(/[^.]+$/, ""),
    ],
    ["HS384", 1505, "TokenUnknownError", signByHand(claims(), { alg: "HS384" })],
    ["HS512", 1505, "TokenUnknownError", signByHand(claims(), { alg: "HS512" })],
    ["RS256 without JWKS", 1505, "TokenUnknownError", signByHand(claims(), { header: { alg: "RS256" } })],
    ["an alg nobody knows", 1505, "TokenUnknownError", signByHand(claims(), { header: { alg: "hs256" } })],
    ["a critical extension", 1505, "TokenUnknownError", signByHand(claims(), { header: { crit: ["x"], x: 1 } })],
  ])("refused: %s, with %d", async (_, errCode, errMsg, token) => {
    expect(await refusal(openimVerifier(), token)).toMatchObject({ errCode, errMsg });
  });

  test("a little ahead of this clock is not from the future: instances' clocks differ", async () => {
    const iat = nowS() + 30;
    expect(await openimVerifier()(signByHand({ ...claims(), iat }))).toMatchObject({ issuedAtMs: iat * 1_000 });
  });

  test("any text is accepted or refused with 1503 or 1505, never an internal error", async () => {
    const verify = openimVerifier();
    const part = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.json().map((json) => Buffer.from(json).toString("base64url")),
    );
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.tuple(part, part, part).map((three) => three.join(".")),
      fc.jsonValue().map((payload) => signByHand(payload)),
    );
    await fc.assert(
      fc.asyncProperty(text, async (token) => {
        const thrown = await thrownBy(verify, token);
        expect([1503, 1505]).toContain(toErrorFacts(thrown).errCode);
      }),
      fuzz(500),
    );
  });
});

describe("revocation", () => {
  test("refuses with 1506 what was minted before, and accepts what was minted after", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: 1_763_850_000_500 });
    const mint = createTokenMinter({ secret, ttlMs: 60_000 });
    const revoked = new Map<string, number>();
    const verify = createTokenVerifier({
      secrets: { current: secret },
      adminUserIds,
      revokedAtMs: (userId, platformId) => revoked.get(`${userId} ${platformId}`),
    });
    const subject = { userId: "alice", platformId: 5 };
    const { token: before } = await mint(subject);
    const { token: elsewhere } = await mint({ userId: "alice", platformId: 1 });
    // Also one that is known already.
    await verify(before);
    revoked.set("alice 5", Date.now());
    vi.advanceTimersByTime(1);
    const { token: after } = await mint(subject);
    expect(await refusal(verify, before)).toEqual({
      errCode: 1506,
      errMsg: "TokenKickedError",
      errDlt: "the token was revoked",
    });
    expect(await verify(after)).toMatchObject({ issuedAtMs: 1_763_850_000_501 });
    expect(await verify(elsewhere)).toMatchObject({ platformId: 1 });
    expect(await refusal(verify, signByHand({ UserID: "alice", PlatformID: 5, exp: nowS() + 60 }))).toMatchObject({
      errCode: 1506,
    });
  });

  test("a known token still expires to the second", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: 1_763_850_000_000 });
    const { token } = await createTokenMinter({ secret, ttlMs: 60_000 })({ userId: "alice", platformId: 5 });
    const verify = openimVerifier();
    await verify(token);
    vi.advanceTimersByTime(59_999);
    await verify(token);
    vi.advanceTimersByTime(1);
    expect(await refusal(verify, token)).toMatchObject({ errCode: 1501, errMsg: "TokenExpiredError" });
  });
});

describe("an identity provider's tokens", async () => {
  const algorithms = ["RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA"] as const;
  const pairs = await Promise.all(
    algorithms.map(async (alg) => ({ alg, kid: `${alg}-1`, ...(await generateKeyPair(alg, { extractable: true })) })),
  );
  const stranger = await generateKeyPair("RS256");
  const key = (alg: string) => {
    const pair = pairs.find((candidate) => candidate.alg === alg);
    if (pair === undefined) throw new Error(`no key for ${alg}`);
    return pair;
  };
  const issuer = "https://id.example.com/";
  let server: Server;
  let jwks: JwksOptions & { readonly url: string };
  let fetches = 0;

  beforeAll(async () => {
    const publicKeys = pairs.map(async ({ alg, kid, publicKey }) => ({ ...(await exportJWK(publicKey)), alg, kid }));
    // Two keys that a token without kid cannot choose between.
    const more = { ...(await exportJWK(stranger.publicKey)), alg: "RS256", kid: "RS256-2" };
    const routes: Record<string, [number, string]> = {
      "/keys": [200, JSON.stringify({ keys: await Promise.all(publicKeys) })],
      "/two-keys": [200, JSON.stringify({ keys: [...(await Promise.all(publicKeys)), more] })],
      "/broken": [200, "<html>"],
      "/no-set": [200, JSON.stringify({ keys: "none" })],
      "/moved": [302, ""],
    };
    server = createServer((request, response) => {
      fetches++;
      const [status, body] = routes[request.url ?? ""] ?? [404, ""];
      response.writeHead(status, { "content-type": "application/json", location: "/keys" }).end(body);
    });
    jwks = { url: `http://127.0.0.1:${await listen(server)}/keys`, audience: "mustreach" };
  });
  afterAll(() => server.close());

  const verifierOf = (options: Partial<JwksOptions> = {}) =>
    createTokenVerifier({
      secrets: { current: secret },
      adminUserIds,
      jwks: { ...jwks, ...options },
      revokedAtMs: () => undefined,
    });

  function sign(
    payload: JWTPayload,
    { alg = "RS256", kid = `${alg}-1` as string | null, privateKey = key(alg).privateKey } = {},
  ) {
    const header = kid === null ? { alg } : { alg, kid };
    return new SignJWT({ aud: "mustreach", exp: nowS() + 300, iat: nowS(), ...payload })
      .setProtectedHeader(header)
      .sign(privateKey);
  }

  test.each(algorithms)("%s is accepted", async (alg) => {
    expect(await verifierOf()(await sign({ sub: "alice" }, { alg }))).toMatchObject({
      userId: "alice",
      platformId: 0,
      isAdmin: false,
    });
  });

  test("sub is the user whatever UserID says, and PlatformID counts", async () => {
    expect(await verifierOf()(await sign({ UserID: "imAdmin", sub: "alice", PlatformID: 3 }))).toMatchObject({
      userId: "alice",
      platformId: 3,
      isAdmin: false,
    });
  });

  test("another claim is the user when that is configured", async () => {
    const verify = verifierOf({ userClaim: "UserID" });
    expect(await verify(await sign({ UserID: "bob", sub: "alice" }))).toMatchObject({ userId: "bob", isAdmin: false });
    expect(await refusal(verify, await sign({ sub: "alice" }))).toMatchObject({ errCode: 1503 });
  });

  test("who is called as an admin is none, and is nobody else either", async () => {
    for (const verify of [verifierOf(), verifierOf({ adminClaim: "roles=mustreach-admin" })]) {
      for (const sub of adminUserIds) {
        expect(await refusal(verify, await sign({ sub, roles: ["user"] }))).toMatchObject({ errCode: 1505 });
      }
    }
  });

  test.each<[adminClaim: string, claims: JWTPayload, isAdmin: boolean]>([
    ["roles=mustreach-admin", { roles: ["user", "mustreach-admin"] }, true],
    ["roles=mustreach-admin", { roles: "mustreach-admin" }, true],
    ["roles=mustreach-admin", { roles: "user mustreach-admin" }, false],
    ["roles=mustreach-admin", { roles: ["mustreach-admins"] }, false],
    ["roles=mustreach-admin", { roles: { "mustreach-admin": true } }, false],
    ["roles=mustreach-admin", { roles: true }, false],
    ["roles=mustreach-admin", {}, false],
    ["scope=mustreach:admin", { scope: "openid mustreach:admin" }, true],
    ["scope=mustreach:admin", { scope: "openid mustreach:admins" }, false],
    ["https://example.com/admin", { "https://example.com/admin": true }, true],
    ["admin", { admin: "true" }, false],
    ["admin", { admin: 1 }, false],
    ["toString", {}, false],
    ["level=a=b", { level: "a=b" }, true],
  ])("with %s, %j makes an admin: %s", async (adminClaim, more, isAdmin) => {
    const verify = verifierOf({ adminClaim });
    expect(await verify(await sign({ sub: "alice", ...more }))).toMatchObject({ userId: "alice", isAdmin });
  });

  test("OpenIM's tokens are accepted beside them", async () => {
    expect(await verifierOf({ issuer, audience: "mustreach" })(signByHand(claims()))).toMatchObject({
      userId: "alice",
    });
  });

  test("the audience is checked, and the issuer when it is given", async () => {
    const verify = verifierOf({ issuer, audience: "mustreach" });
    expect(await verify(await sign({ sub: "alice", iss: issuer, aud: ["other", "mustreach"] }))).toBeDefined();
    for (const wrong of [
      { iss: issuer, aud: undefined as unknown as string },
      { aud: "mustreach" },
      { iss: issuer, aud: "other" },
      { iss: "x", aud: "mustreach" },
    ]) {
      expect(await refusal(verify, await sign({ sub: "alice", ...wrong }))).toMatchObject({ errCode: 1505 });
    }
  });

  test("without a kid the one key of its algorithm is taken; of two, none", async () => {
    const token = await sign({ sub: "alice" }, { kid: null });
    expect(await verifierOf()(token)).toMatchObject({ userId: "alice" });
    const verify = verifierOf({ url: new URL("/two-keys", jwks.url).href });
    expect(await refusal(verify, token)).toMatchObject({ errCode: 1505, errMsg: "TokenUnknownError" });
  });

  test.each<[string, number, () => Promise<string> | string]>([
    ["no user", 1503, () => sign({})],
    ["an unusable sub", 1503, () => sign({ sub: "a\u0000" })],
    ["another audience", 1505, () => sign({ sub: "alice", aud: "another app" })],
    ["no exp", 1503, () => sign({ sub: "alice", exp: undefined as unknown as number })],
    ["expired", 1501, () => sign({ sub: "alice", exp: nowS() - 1 })],
    ["nbf ahead", 1504, () => sign({ sub: "alice", nbf: nowS() + 60 })],
    ["an unknown kid", 1505, () => sign({ sub: "alice" }, { kid: "RS256-9" })],
    ["a stranger's key under a known kid", 1505, () => sign({ sub: "alice" }, { privateKey: stranger.privateKey })],
    ["alg none", 1505, () => signByHand(claims(), { header: { alg: "none" } })],
    ["HS384 with the secret", 1505, () => signByHand(claims(), { alg: "HS384" })],
    ["another key's kid", 1505, () => sign({ sub: "alice" }, { kid: "ES256-1" })],
  ])("refused: %s, with %d", async (_, errCode, token) => {
    expect(await refusal(verifierOf(), await token())).toMatchObject({ errCode });
  });

  test("a public key is never an HS256 secret", async () => {
    const verify = verifierOf();
    const { publicKey } = key("RS256");
    const pem = await exportSPKI(publicKey);
    const der = createPublicKey(pem).export({ type: "spki", format: "der" });
    for (const guess of [pem, pem.trim(), der.toString("latin1"), JSON.stringify(await exportJWK(publicKey))]) {
      const token = signByHand(claims(), { key: guess, header: { kid: "RS256-1" } });
      expect(await refusal(verify, token)).toMatchObject({ errCode: 1505 });
    }
  });

  test("the signature of a known token is not verified again, and the key set is not fetched again", async () => {
    const verify = verifierOf();
    const tokens = [await sign({ sub: "alice" }), signByHand(claims())];
    await Promise.all(tokens.map(verify));
    const fetchesBefore = fetches;
    const signatures = vi.spyOn(crypto.subtle, "verify");
    for (let n = 0; n < 20; n++) await Promise.all(tokens.map(verify));
    expect(signatures).not.toHaveBeenCalled();
    expect(fetches).toBe(fetchesBefore);
    await verify(await sign({ sub: "bob" }));
    expect(signatures).toHaveBeenCalledOnce();
    expect(fetches).toBe(fetchesBefore);
    signatures.mockRestore();
  });

  test.each(["/gone", "/broken", "/no-set", "/moved"])("a key set at %s is no key set, 90104", async (path) => {
    const verify = verifierOf({ url: new URL(path, jwks.url).href });
    expect(await refusal(verify, await sign({ sub: "alice" }))).toEqual({
      errCode: 90104,
      errMsg: "IdentityProviderError",
      errDlt: "the identity provider's keys cannot be fetched",
    });
    expect(await verify(signByHand(claims()))).toMatchObject({ userId: "alice" });
  });

  test("callers whose tokens need a key set that cannot be fetched do not make us fetch more often", async () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    const verify = verifierOf({ url: new URL("/broken", jwks.url).href });
    const tokens = await Promise.all(Array.from({ length: 300 }, (_, n) => sign({ sub: `user ${n}` })));
    const fetchesBefore = fetches;
    for (const token of tokens) expect(await refusal(verify, token)).toMatchObject({ errCode: 90104 });
    expect(fetches - fetchesBefore).toBe(1);
    vi.advanceTimersByTime(5_000);
    await refusal(verify, await sign({ sub: "alice" }));
    expect(fetches - fetchesBefore).toBe(2);
  });

  test("a key that is there is found although a fetch for another has failed a moment ago", async () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    let down = false;
    const flaky = createServer((_, response) => {
      if (down) return void response.writeHead(503).end();
      void exportJWK(key("RS256").publicKey).then((jwk) => response.end(JSON.stringify({ keys: [jwk] })));
    });
    const port = await listen(flaky);
    onTestFinished(() => void flaky.close());
    const verify = verifierOf({ url: `http://127.0.0.1:${port}/` });
    await verify(await sign({ sub: "alice" }, { kid: null }));
    down = true;
    vi.advanceTimersByTime(60_000);
    expect(await refusal(verify, await sign({ sub: "mallory" }, { alg: "ES256" }))).toMatchObject({ errCode: 90104 });
    expect(await verify(await sign({ sub: "bob" }, { kid: null }))).toMatchObject({ userId: "bob" });
  });

  test("so is one that nobody serves, until someone does", async () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    const late = createServer((_, response) => {
      void exportJWK(key("RS256").publicKey).then((jwk) => response.end(JSON.stringify({ keys: [jwk] })));
    });
    const port = await listen(late);
    late.close();
    await once(late, "close");
    const verify = verifierOf({ url: `http://127.0.0.1:${port}/` });
    const token = await sign({ sub: "alice" }, { kid: null });
    expect(await refusal(verify, token)).toMatchObject({ errCode: 90104, errMsg: "IdentityProviderError" });
    late.listen(port, "127.0.0.1");
    await once(late, "listening");
    vi.advanceTimersByTime(5_000);
    expect(await verify(token)).toMatchObject({ userId: "alice" });
    late.close();
  });
});
