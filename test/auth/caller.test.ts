import { createContextValues } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { type Caller, callerKey, requireAdmin, requireCaller } from "../../src/auth/caller.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";

const caller: Caller = { userId: "alice", platformId: 5, isAdmin: false, issuedAtMs: 0, expiresAtMs: 1 };
const method = MsgService.method.recallBusinessNotification;
const contextOf = (value?: Caller) => ({ method, values: createContextValues().set(callerKey, value) });

function factsOf(run: () => unknown) {
  try {
    return run();
  } catch (error) {
    return toErrorFacts(error);
  }
}

test("the caller is the one in the context", () => {
  expect(requireCaller(contextOf(caller))).toBe(caller);
});

test("without a caller it is OpenIM's 1001", () => {
  const missing = { errCode: 1001, errMsg: "ArgsError", errDlt: "header must have token" };
  expect(factsOf(() => requireCaller({ method, values: createContextValues() }))).toEqual(missing);
  expect(factsOf(() => requireAdmin(contextOf()))).toEqual(missing);
});

test("an admin may, another may not", () => {
  const admin = { ...caller, isAdmin: true };
  expect(requireAdmin(contextOf(admin))).toBe(admin);
  expect(factsOf(() => requireAdmin(contextOf(caller)))).toEqual({
    errCode: 1002,
    errMsg: "NoPermissionError",
    errDlt: "only an admin token may recall a notification",
  });
});
