import { createHmac } from "node:crypto";
import { afterEach, expect, test, vi } from "vitest";
import { createTokenMinter } from "../../src/auth/mint-token.ts";

afterEach(() => {
  vi.useRealTimers();
});

test("a token is OpenIM's: HS256 with UserID, PlatformID, exp iat in whole seconds, and only iatMs beside them", async () => {
  vi.useFakeTimers({ toFake: ["Date"], now: 1_763_850_000_123 });
  const mint = createTokenMinter({ secret: "openIM123", ttlMs: 7_776_000_000 });
  const { token, expireTimeSeconds } = await mint({ userId: "imAdmin", platformId: 10 });
  expect(expireTimeSeconds).toBe(7_776_000);
  const [header = "", payload = "", signature] = token.split(".");
  expect(JSON.parse(Buffer.from(header, "base64url").toString())).toEqual({ alg: "HS256", typ: "JWT" });
  expect(JSON.parse(Buffer.from(payload, "base64url").toString())).toEqual({
    UserID: "imAdmin",
    PlatformID: 10,
    exp: 1_763_850_001 + 7_776_000,
    iat: 1_763_850_000,
    iatMs: 1_763_850_000_123,
  });
  // The signature as any other implementation computes it.
  expect(signature).toBe(createHmac("sha256", "openIM123").update(`${header}.${payload}`).digest("base64url"));
});

test("a user id of any script survives", async () => {
  const mint = createTokenMinter({ secret: "openIM123", ttlMs: 60_000 });
  const { token } = await mint({ userId: '日本 "😀"', platformId: 5 });
  expect(JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()).UserID).toBe('日本 "😀"');
});
