import { setTimeout as sleep } from "node:timers/promises";
import type { BaseLogger } from "pino";
import type { Report } from "../gen/mustreach/msg/v1/report_pb.ts";
import { createPause, type PauseOptions } from "../webhook/pause.ts";
import type { Webhook } from "../webhook/post.ts";
import type { ReportPage, ReportPages } from "./page.ts";
import { toStateToken } from "./reports.ts";
import type { Told } from "./told.ts";
import type { WebhookTurn } from "./turn.ts";

export interface ReportWebhookOptions {
  readonly pages: Pick<ReportPages, "read" | "open">;
  readonly turn: WebhookTurn;
  readonly told: Pick<Told, "listen" | "count" | "wait">;
  readonly webhook: Webhook;
  /** How long reports are gathered, from the first that waits, in milliseconds. Default 1,000. */
  readonly gatherMs?: number;
  /** How often it is looked for reports of which nothing was told, in milliseconds. Default 15,000. */
  readonly lookMs?: number;
  /** As of {@link PauseOptions}. Default 1,000. */
  readonly minDelayMs?: number;
  /** As of {@link PauseOptions}, and the longest wait that the webhook can ask for. Default 60,000. */
  readonly maxDelayMs?: number;
  /** How long a stop waits for a request under way, in milliseconds. Default 1,500. */
  readonly stopMs?: number;
  /** A number from 0 up to but not including 1. Default Math.random. */
  readonly random?: () => number;
  readonly log: BaseLogger;
}

/** What has come of reports since the start, on this instance. */
export interface ReportWebhookCounts {
  /** Reports that the webhook has taken. */
  taken: number;
  /** Requests that it has refused. */
  refused: number;
  /** Reports that were gone before it took them, as far as their number is known. */
  lost: number;
}

/** The job that hands reports to the webhook. */
export interface ReportWebhook {
  readonly counts: Readonly<ReportWebhookCounts>;
  stop(): Promise<void>;
}

/** Reports of a request, at most. */
export const maxReports = 100;

/**
 * Starts to hand reports to the webhook, in their order, each request when the one before was taken: at least once. One
 * that it does not take is tried again for as long as its reports are kept; those that are not any more are told by a gap.
 */
export async function startReportWebhook(options: ReportWebhookOptions): Promise<ReportWebhook> {
  const { pages, turn, told, webhook, log, random = Math.random } = options;
  const { gatherMs = 1_000, lookMs = 15_000, minDelayMs = 1_000, maxDelayMs = 60_000, stopMs = 1_500 } = options;
  const counts: ReportWebhookCounts = { taken: 0, refused: 0, lost: 0 };
  const pause = createPause({ minDelayMs, maxDelayMs, random });
  const stopping = new AbortController();

  /** Posts a page until it is taken. Throws when the turn is over. */
  const post = async (page: ReportPage, after: number, signal: AbortSignal): Promise<void> => {
    const content = { ...(page.gap && { gap: page.gap }), events: page.reports.map(toEvent) };
    // Of the same reports, however often they are posted; in a store that was restored, others get their sequences.
    const lastMs = page.reports.at(-1)?.time ?? 0n;
    const id = `reports-${after + 1}-${page.through}-${lastMs}`;
    for (let refusals = 1; ; refusals++) {
      const answer = await webhook(id, content, stopping.signal);
      if (answer.kind === "taken") return;
      signal.throwIfAborted();
      counts.refused++;
      log.warn({ reports: id, reason: answer.reason }, "the webhook has not taken reports; they are posted again");
      await sleep(pause(refusals, Math.min(answer.retryAfterMs ?? 0, maxDelayMs)), undefined, { signal });
    }
  };

  /** Where it goes on: with the oldest that there is, if the webhook was never asked. */
  const begin = async (): Promise<{ after: number; page: ReportPage }> => {
    const place = await turn.place();
    if (place !== undefined) return { after: place, page: await pages.open(place, maxReports) };
    const [oldest] = (await pages.open(0, 1)).reports;
    const after = Number(oldest?.sequence ?? 1n) - 1;
    // Now, so that what makes room before the first is taken is told as lost.
    await turn.moveTo(after);
    return { after, page: await pages.read(after, maxReports) };
  };

  const postAll = async (signal: AbortSignal): Promise<never> => {
    await told.listen();
    let { after, page } = await begin();
    for (let count = told.count(); ; page = await pages.read(after, maxReports)) {
      if (page.reports.length > 0 || page.gap !== undefined) {
        await post(page, after, signal);
        counts.taken += page.reports.length;
        if (page.gap !== undefined) counts.lost += Math.max(0, page.gap.to - page.gap.from + 1);
        after = page.through;
        await turn.moveTo(after);
      }
      signal.throwIfAborted();
      if (page.pending === 0) {
        await told.wait(count, lookMs, signal);
        await sleep(gatherMs, undefined, { signal });
      }
      count = told.count();
    }
  };

  const leaveTurns = await turn.take(postAll);
  return {
    counts,
    async stop() {
      // A request that is under way has a moment to be taken.
      const timer = setTimeout(() => stopping.abort(), stopMs);
      await leaveTurns().finally(() => clearTimeout(timer));
    },
  };
}

/** A report under OpenIM's names. */
function toEvent(report: Report) {
  const { sequence, state, serverMsgId, clientMsgId, userId, deviceId, key, sendTime, time, reason } = report;
  return {
    sequence: Number(sequence),
    state: toStateToken(state),
    serverMsgID: serverMsgId,
    clientMsgID: clientMsgId,
    userID: userId,
    ...(deviceId !== "" && { deviceID: deviceId }),
    key,
    sendTime: Number(sendTime),
    time: Number(time),
    ...(reason !== "" && { reason }),
  };
}
