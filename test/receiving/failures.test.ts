import { pino } from "pino";
import { expect, test } from "vitest";
import { createFailures } from "../../src/receiving/hub.ts";

test("of each kind of failure there is one line in the log, for however many sessions", () => {
  const lines: string[] = [];
  const failures = createFailures(pino({ level: "warn" }, { write: (line) => void lines.push(line) }));
  for (let session = 0; session < 1_000; session++) {
    failures.inboxUnread(new Error(`of ${session}`));
    failures.groupsUnread(new Error(`of ${session}`));
    failures.settledUntold(new Error(`of ${session}`));
  }
  expect(lines.map((line) => JSON.parse(line).err.message)).toEqual(["of 0", "of 0", "of 0"]);
  expect(new Set(lines.map((line) => JSON.parse(line).msg)).size).toBe(3);
});
