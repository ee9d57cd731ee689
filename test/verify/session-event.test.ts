import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { SessionEvent as DeviceEvent } from "../../src/client/wire/event.ts";
import type { SessionEvent } from "../../src/verify/check/history.ts";
import { inspect } from "../../src/verify/check/inspect.ts";
import { openHistoryFile } from "../../src/verify/history-file.ts";
import { toSessionEvent } from "../../src/verify/session-event.ts";
import { call, device, got, historyOf, send, session } from "./check/histories.ts";

const dataById = new Map<string, string>();
const record = (event: DeviceEvent): SessionEvent => {
  const seen = toSessionEvent(event, 50, (id) => dataById.get(id) ?? `unknown ${id}`);
  if (seen === undefined) throw new Error("nothing is kept of it");
  return seen;
};
const recallOf = (serverMsgId: string) =>
  ({ case: "recall", value: { sequence: 5n, serverMsgId, epoch: "" } }) as DeviceEvent;
const settledOf = (serverMsgId: string) =>
  ({ case: "settled", value: { sequence: 5n, serverMsgId, epoch: "", wasSent: false } }) as DeviceEvent;

/** What two devices are told of the same sequence: one before the send was answered, and one after. */
function toldTwice(toEvent: (serverMsgId: string) => DeviceEvent): readonly SessionEvent[] {
  dataById.clear();
  const early = record(toEvent("id"));
  dataById.set("id", "order paid");
  return [early, record(toEvent("id"))];
}

test.each([
  ["a recall", recallOf],
  ["what was settled", settledOf],
] as const)("%s that comes before the send is answered is named after that", (_, toEvent) => {
  expect(toldTwice(toEvent)).toMatchObject([{ data: "order paid" }, { data: "order paid" }]);
  expect(record(toEvent("never answered"))).toMatchObject({ data: "unknown never answered" });
});

/** The same recall on two devices, before and after the send that it recalls was answered. */
function recalledOnTwo() {
  const [early, late] = toldTwice(recallOf);
  if (early === undefined || late === undefined) throw new Error("nothing is kept of it");
  const first = session([early, got(6, "next")]);
  const other = device([session([late, got(6, "next")])], { deviceId: "tablet" });
  const recalled = send("order paid", { attempts: [call(10, 70)], recalls: [call(30, 40)] });
  return historyOf([recalled, send("next")], [first], undefined, [other]);
}

test("so two devices agree on what a sequence is", () => {
  expect(inspect(recalledOnTwo())).toEqual([]);
});

test("and the file of the history has its name", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-history-"));
  try {
    const path = join(dir, "history.jsonl");
    const file = openHistoryFile(path);
    await file.add(1, recalledOnTwo());
    await file.close();
    const lines = (await readFile(path, "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const named = lines.filter(({ event }) => event === "recall").map(({ data }) => data);
    expect(named).toEqual(["order paid", "order paid"]);
  } finally {
    await rm(dir, { recursive: true });
  }
});
