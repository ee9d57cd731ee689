import { Code, ConnectError, createContextValues } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { createCallLog } from "../../src/observe/call-log.ts";
import { createLog } from "../../src/observe/log.ts";

const rpc = "mustreach.delivery.v1.DeliveryService/Subscribe";

function begin() {
  const lines: Record<string, unknown>[] = [];
  const counted: [rpc: string, errCode: number][] = [];
  const log = createLog("info", { write: (line) => void lines.push(JSON.parse(line)) });
  const callLog = createCallLog(log, { call: (...[name, errCode]) => void counted.push([name, errCode]) });
  return { lines, counted, call: callLog.begin({ rpc, values: createContextValues() }) };
}

test("a caller that goes is how its stream ends, and no error", () => {
  const { lines, counted, call } = begin();
  call.open();
  const gone = new ConnectError("the caller has gone", Code.Canceled);
  expect(call.fail(gone)).toBe(gone);
  expect(lines).toMatchObject([
    { rpc, msg: "stream opened" },
    { rpc, msg: "call answered" },
  ]);
  expect(counted).toEqual([[rpc, 0]]);
});

test.each([
  ["a caller that does not wait for its answer", false, Code.Canceled],
  ["a stream whose deadline passes", true, Code.DeadlineExceeded],
])("%s is refused", (_, isStream, code) => {
  const { lines, counted, call } = begin();
  if (isStream) call.open();
  call.fail(new ConnectError("test", code));
  expect(lines.at(-1)).toMatchObject({ rpc, msg: "call refused", errDlt: "test" });
  expect(counted).toEqual([[rpc, lines.at(-1)?.errCode]]);
});
