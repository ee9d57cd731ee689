import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { expect, test, vi } from "vitest";
import { ReportSchema, ReportState } from "../../src/gen/mustreach/msg/v1/report_pb.ts";
import type { ReportPage } from "../../src/reporting/page.ts";
import { startReportWebhook } from "../../src/reporting/webhook.ts";
import type { WebhookAnswer } from "../../src/webhook/post.ts";

const refused: WebhookAnswer = { kind: "refused", reason: "HTTP 500", isFinal: false, retryAfterMs: undefined };

/** What is posted of a store with one report, whose place the webhook has not taken yet. */
async function post(report: { readonly serverMsgId: string; readonly time: bigint }, answers: WebhookAnswer[] = []) {
  const ids: string[] = [];
  const reports = [create(ReportSchema, { ...report, sequence: 1n, state: ReportState.DELIVERED })];
  const page: ReportPage = { reports, gap: undefined, through: 1, pending: 0 };
  const none: ReportPage = { reports: [], gap: undefined, through: 1, pending: 0 };
  const taken = Promise.withResolvers<void>();
  const { stop } = await startReportWebhook({
    pages: { open: async () => page, read: async () => none },
    turn: {
      place: async () => 0,
      moveTo: async () => taken.resolve(),
      async take(work) {
        const over = new AbortController();
        const working = work(over.signal).catch(() => {});
        return async () => {
          over.abort();
          await working;
        };
      },
    },
    told: {
      listen: async () => {},
      count: () => 0,
      wait: (_, __, signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve())),
    },
    async webhook(id) {
      ids.push(id);
      return answers.shift() ?? { kind: "taken" };
    },
    random: () => 0,
    log: pino({ level: "silent" }),
  });
  await vi.waitFor(() => taken.promise);
  await stop();
  return ids;
}

test("reports that are posted again have the id that they had", async () => {
  const ids = await post({ serverMsgId: "a", time: 1_700n }, [refused, refused]);
  expect(ids).toHaveLength(3);
  expect(new Set(ids).size).toBe(1);
});

test("other reports that have their sequences, in a store that was restored, have another id", async () => {
  const [before] = await post({ serverMsgId: "a", time: 1_700n });
  const [after] = await post({ serverMsgId: "b", time: 1_800n });
  expect(after).not.toBe(before);
});
