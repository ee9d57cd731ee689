import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test, vi } from "vitest";
import { retryAfterMsOf, toErrorFacts } from "../../src/errors.ts";
import { AuthService } from "../../src/gen/mustreach/auth/v1/auth_pb.ts";
import { testSecret, useServer } from "../helpers/server.ts";

const server = useServer();

test("who tries secrets is slowed at every door, and tokens work on", async () => {
  const guess = (secret: string) => server.post("/auth/get_admin_token", { secret, userID: "imAdmin" });
  const answers = await Promise.all(Array.from({ length: 30 }, (_, n) => guess(`a guess that is wrong: ${n}`)));
  const count = (errCode: number) => answers.filter(({ json }) => json.errCode === errCode).length;
  // One more is looked at every six seconds.
  expect(count(1002)).toBeGreaterThanOrEqual(10);
  expect(count(429)).toBeGreaterThan(0);
  expect(count(1002) + count(429)).toBe(30);
  for (const { status, headers } of answers.filter(({ json }) => json.errCode === 429)) {
    expect(status).toBe(429);
    expect(headers.get("retry-after")).toMatch(/^[1-6]$/);
  }

  const client = createClient(AuthService, createGrpcTransport({ baseUrl: server.url }));
  const refused = await vi.waitFor(async () => {
    await guess("one more, if there was time for it");
    const thrown = await client
      .getAdminToken({ secret: testSecret, userId: "imAdmin" })
      .catch((error: unknown) => error);
    expect(toErrorFacts(thrown)).toMatchObject({ errCode: 429, errMsg: "TooManyRequestsError" });
    return thrown;
  });
  expect(retryAfterMsOf(refused)).toBeGreaterThan(0);
  expect(retryAfterMsOf(refused)).toBeLessThanOrEqual(6_000);

  const { json } = await server.post(
    "/auth/get_user_token",
    { userID: "alice", platformID: 5 },
    await server.adminToken(),
  );
  expect(json.errCode).toBe(0);
});
