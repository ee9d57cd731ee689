import { describe, expect, test } from "vitest";
import { toErrorFacts } from "../src/errors.ts";
import { isId, requireId } from "../src/limits.ts";

describe("requireId", () => {
  test.each([
    "a",
    "*",
    ">",
    "a.b",
    " ",
    "日本",
    "😀",
    "\u00a0",
    'quote"',
    "x".repeat(16),
    "日".repeat(5),
    "😀".repeat(4),
  ])("%j is an id of at most 16 bytes", (value) => {
    expect(requireId(value, "recvUserID", 16)).toBe(value);
  });

  test.each([
    ["empty", ""],
    ["one byte too long", "x".repeat(17)],
    ["one byte too long in UTF-8 only", `${"日".repeat(5)}xx`],
    ["NUL", "a\u0000"],
    ["a line break", "a\nb"],
    ["unit separator", "\u001f"],
    ["DEL", "\u007f"],
    ["the first C1 control", "\u0080"],
    ["the last C1 control", "\u009f"],
    ["a lone high surrogate", "a\ud800"],
    ["a lone low surrogate", "\udc00a"],
  ])("refused: %s", (_, value) => {
    expect(isId(value, 16)).toBe(false);
    let thrown: unknown;
    try {
      requireId(value, "recvUserID", 16);
    } catch (error) {
      thrown = error;
    }
    expect(toErrorFacts(thrown)).toEqual({
      errCode: 1001,
      errMsg: "ArgsError",
      errDlt: "recvUserID must be 1 to 16 bytes of UTF-8 without control characters",
    });
  });
});
