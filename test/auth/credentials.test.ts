import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { expect, onTestFinished, test } from "vitest";
import { createCredentials } from "../../src/auth/credentials.ts";
import { createGuessLimit, getAdminToken } from "../../src/auth/get-admin-token.ts";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { listen } from "../helpers/listen.ts";

const nowS = () => Math.floor(Date.now() / 1_000);
const options = { ttlMs: 60_000, adminUserIds: ["imAdmin"], revokedAtMs: () => undefined };
const [first, second] = ["the-first-secret-has-32-bytes-too", "the-second-secret-has-32-bytes-too"] as const;

async function errCodeOf(attempt: () => unknown): Promise<number> {
  try {
    await attempt();
    return 0;
  } catch (error) {
    return toErrorFacts(error).errCode;
  }
}

test("a renewed secret mints and verifies; tokens by the old one are refused, also those that were verified before", async () => {
  const { secrets, mint, verify, renew } = createCredentials({ ...options, secrets: { current: first } });
  const old = await mint({ userId: "alice", platformId: 5 });
  expect(await verify(old.token)).toMatchObject({ userId: "alice" });
  renew({ current: second });
  expect(secrets()).toEqual({ current: second });
  expect(await errCodeOf(() => verify(old.token))).toBe(1505);
  expect(await verify((await mint({ userId: "alice", platformId: 5 })).token)).toMatchObject({ userId: "alice" });
});

test("while the secret is changed, tokens and the knowledge of both count, and the new one signs", async () => {
  const { secrets, mint, verify, renew } = createCredentials({ ...options, secrets: { current: first } });
  const old = await mint({ userId: "alice", platformId: 5 });
  const adminDeps = { adminUserIds: new Set(["imAdmin"]), mint, guesses: createGuessLimit() };
  const asAdmin = (secret: string) =>
    getAdminToken({ ...adminDeps, secrets: secrets() }, { secret, userId: "imAdmin" }, "peer");
  // Before it signs, so that no instance meets a token of another that it does not know.
  renew({ current: first, previous: second });
  const early = await createTokenMinter({ secret: second, ttlMs: 60_000 })({ userId: "alice", platformId: 5 });
  for (const { token } of [old, early]) expect(await verify(token)).toMatchObject({ userId: "alice" });

  renew({ current: second, previous: first });
  const next = await mint({ userId: "alice", platformId: 5 });
  for (const { token } of [old, early, next]) expect(await verify(token)).toMatchObject({ userId: "alice" });
  // With whitespace in its header it is jose's to judge.
  const header = Buffer.from('{"alg": "HS256"}').toString("base64url");
  const signed = `${header}.${old.token.split(".")[1]}`;
  const unusual = `${signed}.${createHmac("sha256", first).update(signed).digest("base64url")}`;
  expect(await verify(unusual)).toMatchObject({ userId: "alice" });
  for (const secret of [first, second])
    expect(await verify((await asAdmin(secret)).token)).toMatchObject({ isAdmin: true });
  expect(await errCodeOf(() => asAdmin("neither"))).toBe(1002);

  renew({ current: second });
  expect(await errCodeOf(() => verify(old.token))).toBe(1505);
  expect(await errCodeOf(() => verify(unusual))).toBe(1505);
  expect(await errCodeOf(() => verify(next.token))).toBe(0);
  expect(await errCodeOf(() => asAdmin(first))).toBe(1002);
});

test("renewing fetches the identity provider's keys again, whatever is kept", async () => {
  const keys = [await generateKeyPair("ES256"), await generateKeyPair("ES256")] as const;
  let published = 0;
  const provider = createServer(async (_, response) => {
    const key = { ...(await exportJWK((keys[published] ?? keys[0]).publicKey)), kid: "k" };
    response.end(JSON.stringify({ keys: [key] }));
  });
  onTestFinished(() => void provider.close());
  const port = await listen(provider);
  const sign = ({ privateKey }: (typeof keys)[number]) =>
    new SignJWT({ sub: "alice", aud: "mustreach", exp: nowS() + 300 })
      .setProtectedHeader({ alg: "ES256", kid: "k" })
      .sign(privateKey);
  const jwks = { url: `http://127.0.0.1:${port}/keys`, audience: "mustreach" };
  const { verify, renew } = createCredentials({ ...options, secrets: { current: first }, jwks });
  const [old, replaced] = [await sign(keys[0]), await sign(keys[1])];
  expect(await errCodeOf(() => verify(old))).toBe(0);

  published = 1;
  expect(await errCodeOf(() => verify(old))).toBe(0);
  expect(await errCodeOf(() => verify(replaced))).toBe(1505);
  renew({ current: first });
  expect(await errCodeOf(() => verify(old))).toBe(1505);
  expect(await errCodeOf(() => verify(replaced))).toBe(0);
});
