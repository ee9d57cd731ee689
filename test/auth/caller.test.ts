import { createContextValues } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { type Caller, callerKey, requireAdmin, requireCaller } from "../../src/auth/caller.ts";
import { toErrorFacts } from "../../src/errors.ts";

const caller: Caller = { userId: "alice", platformId: 5, isAdmin: false, issuedAtMs: 0, expiresAtMs: 1 };
const contextOf = (value?: Caller) => ({ values: createContextValues().set(callerKey, value) });

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
  expect(factsOf(() => requireCaller({ values: createContextValues() }))).toEqual(missing);
  expect(factsOf(() => requireAdmin(contextOf(), "only an admin token may send"))).toEqual(missing);
});

test("an admin may, another may not", () => {
  const admin = { ...caller, isAdmin: true };
  expect(requireAdmin(contextOf(admin), "only an admin token may send")).toBe(admin);
  expect(factsOf(() => requireAdmin(contextOf(caller), "only an admin token may send"))).toEqual({
    errCode: 1002,
    errMsg: "NoPermissionError",
    errDlt: "only an admin token may send",
  });
});
