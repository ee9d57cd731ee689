import { pino } from "pino";
import { expect, test } from "vitest";
import { createReportDelivered, maxWaitingReports } from "../../src/reporting/delivered.ts";
import type { Finding, ReportedNotification } from "../../src/reporting/reports.ts";

const notification = (serverMsgId: string): ReportedNotification => ({
  ...{ serverMsgId, clientMsgId: `of ${serverMsgId}`, key: "k", sendTimeMs: 7 },
});

/** Deliveries that are reported to the test, which says what was told before, and when the broker answers. */
function open({ told = [] as readonly string[], answer = async () => {} } = {}) {
  const findings: Finding[] = [];
  const warnings: unknown[] = [];
  const log = pino({ level: "warn" }, { write: (line: string) => void warnings.push(JSON.parse(line)) });
  const reports = {
    async settled(of: readonly { readonly serverMsgId: string }[]) {
      await answer();
      return new Set(of.flatMap(({ serverMsgId }, place) => (told.includes(serverMsgId) ? [place] : [])));
    },
    async tell(some: readonly Finding[]) {
      findings.push(...some);
    },
  };
  return { reportDelivered: createReportDelivered({ reports, log }), findings, warnings };
}

test("what a device has acknowledged is reported, but not what nothing follows", async () => {
  const { reportDelivered, findings } = open({ told: ["recalled"] });
  reportDelivered("ann", "phone", [notification("a"), notification("recalled"), notification("b")]);
  await expect.poll(() => findings).toHaveLength(2);
  expect(findings).toEqual(
    ["a", "b"].map((id) => ({ notification: notification(id), userId: "ann", state: "delivered", deviceId: "phone" })),
  );
});

test("a failure is told in the log, and holds up nothing that comes later", async () => {
  let failures = 1;
  const answer = async () => {
    if (failures-- > 0) throw new Error("the broker is away");
  };
  const { reportDelivered, findings, warnings } = open({ answer });
  reportDelivered("ann", "phone", [notification("a")]);
  await expect.poll(() => warnings).toHaveLength(1);
  reportDelivered("ann", "phone", [notification("b")]);
  await expect.poll(() => findings.map((one) => one.notification.serverMsgId)).toEqual(["b"]);
});

test("no more wait than the limit says, and as many may again once they were reported", async () => {
  let isAway = true;
  const answered = Promise.withResolvers<void>();
  const { reportDelivered, findings } = open({ answer: () => (isAway ? answered.promise : Promise.resolve()) });
  const many = Array.from({ length: maxWaitingReports - 1 }, (_, i) => notification(String(i)));
  reportDelivered("ann", "phone", many);
  reportDelivered("ann", "phone", [notification("the last"), notification("too many")]);
  reportDelivered("bob", "phone", [notification("too many")]);
  isAway = false;
  answered.resolve();
  await expect.poll(() => findings.length).toBe(maxWaitingReports);
  expect(findings.filter((one) => one.notification.serverMsgId === "too many")).toEqual([]);
  reportDelivered("bob", "phone", [notification("again")]);
  await expect.poll(() => findings.at(-1)).toMatchObject({ userId: "bob", notification: notification("again") });
});
