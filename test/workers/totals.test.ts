import { expect, test } from "vitest";
import { createMetrics, type Metrics } from "../../src/observe/metrics.ts";
import type { Member } from "../../src/workers/crew.ts";
import { createTotals } from "../../src/workers/totals.ts";

const rpc = "mustreach.msg.v1.MsgService/SendBusinessNotification";

/** A worker that measures; `isStuck` makes it answer nothing more. */
function work(calls: number, sessions: number) {
  const metrics = createMetrics();
  metrics.watch("mustreach_sessions", "Sessions.", () => sessions);
  metrics.watch("mustreach_broker_connected", "Connected.", () => (sessions === 0 ? 0 : 1), { ofAll: "min" });
  for (let i = 0; i < calls; i++) metrics.call(rpc, 0, 0.002);
  let isGone = false;
  const member: Pick<Member, "ask" | "lastMetrics"> = {
    ask: async () => {
      if (isGone) throw new Error("gone");
      return metrics.snapshot() as Promise<never>;
    },
    lastMetrics: [],
  };
  return { member: member as Member, metrics, end: () => (isGone = true) };
}

const sampleOf = (text: string, sample: string) =>
  text
    .split("\n")
    .find((line) => line.startsWith(`${sample} `))
    ?.slice(sample.length + 1);

const calls = `mustreach_rpc_duration_seconds_count{rpc="${rpc}",err_code="0"}`;

test("adds up what is counted and what goes up and down, and takes the least where it says so", async () => {
  const own: Metrics = createMetrics();
  const { text } = createTotals(own.snapshot);
  const { body } = await text([work(3, 1).member, work(4, 0).member]);
  expect(sampleOf(body, calls)).toBe("7");
  expect(sampleOf(body, `mustreach_rpc_duration_seconds_bucket{le="0.0025",rpc="${rpc}",err_code="0"}`)).toBe("7");
  expect(sampleOf(body, "mustreach_sessions")).toBe("1");
  expect(sampleOf(body, "mustreach_broker_connected")).toBe("0");
  expect(body).toMatch(/^mustreach_build_info\{.*\} 1$/m);
});

test("what a worker has counted stays counted when it has ended, its sessions do not", async () => {
  const { text, keep } = createTotals(createMetrics().snapshot);
  const [a, b] = [work(3, 1), work(4, 2)];
  await text([a.member, b.member]);
  b.end();
  keep(b.member.lastMetrics);
  for (let i = 0; i < 3; i++) {
    const { body } = await text([a.member]);
    expect(sampleOf(body, calls)).toBe("7");
    expect(sampleOf(body, "mustreach_sessions")).toBe("1");
  }
});

test("one that does not answer has not counted less than before", async () => {
  const { text } = createTotals(createMetrics().snapshot);
  const a = work(3, 1);
  await text([a.member]);
  a.end();
  expect(sampleOf((await text([a.member])).body, calls)).toBe("3");
});
