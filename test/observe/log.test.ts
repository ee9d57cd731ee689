import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { failure } from "../../src/errors.ts";
import { createLog } from "../../src/observe/log.ts";

/** What is logged of an error, and the whole line. */
function log(err: unknown) {
  const lines: string[] = [];
  createLog("info", { write: (line) => void lines.push(line) }).error({ err }, "failed");
  const [line = ""] = lines;
  return { line, logged: JSON.parse(line).err };
}

test("of an error it is logged what it is, what it says, and where it was made: no stack", () => {
  const { line, logged } = log(Object.assign(new TypeError("no such thing"), { code: "ENOENT", errno: -2 }));
  expect(logged).toEqual({
    ...{ type: "TypeError", message: "no such thing", code: "ENOENT", errno: -2 },
    at: expect.stringMatching(/^test\/observe\/log\.test\.ts:\d+:\d+$/),
  });
  expect(line).not.toContain("    at ");
});

test("with its causes, and not without end", () => {
  const last = new Error("last");
  const circular = new Error("circular", { cause: last });
  last.cause = circular;
  const { logged } = log(failure("NetworkError", "the broker did not answer in time", circular));
  expect(logged).toMatchObject({ type: "ConnectError", cause: { message: "circular", cause: { message: "last" } } });
  expect(JSON.stringify(logged).split("circular")).toHaveLength(3);
  expect(log("a text").logged).toBe("a text");
});

test("of an answer's error the details are not, and of one that stands for many some are", () => {
  const { line } = log(failure("NetworkError", "the broker did not answer in time"));
  expect(line).not.toContain("google.rpc");
  expect(line.length).toBeLessThan(400);
  const many = new AggregateError(Array.from({ length: 100 }, () => new ConnectError("refused", Code.Unavailable)));
  expect(log(many).logged.errors).toHaveLength(4);
});

test("what an error says is cut off where it is long", () => {
  expect(log(new Error("x".repeat(100_000))).line.length).toBeLessThan(2_000);
});
