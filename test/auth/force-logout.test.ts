import { createContextValues } from "@connectrpc/connect";
import { expect, onTestFinished, test, vi } from "vitest";
import { callerKey } from "../../src/auth/caller.ts";
import { forceLogout } from "../../src/auth/force-logout.ts";
import { AuthService } from "../../src/gen/mustreach/auth/v1/auth_pb.ts";

const admin = { userId: "imAdmin", platformId: 10, issuedAtMs: 0, expiresAtMs: Number.MAX_SAFE_INTEGER, isAdmin: true };

test("a logout is answered when the machine's clock is set back meanwhile", async () => {
  const clock = vi.spyOn(Date, "now");
  onTestFinished(() => clock.mockRestore());
  const revoke = vi.fn(async (_userId: string, _platformId: number, atMs: number) => {
    clock.mockReturnValue(atMs - 600_000);
  });
  const context = { values: createContextValues().set(callerKey, admin), method: AuthService.method.forceLogout };
  await forceLogout({ revoke }, { userId: "alice", platformId: 5 }, context);
  expect(revoke).toHaveBeenCalledOnce();
});
