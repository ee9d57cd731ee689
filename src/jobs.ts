import { givenOut } from "./broker/consumers/given-out.ts";
import { watchBroker } from "./broker-metrics.ts";
import { deadlineIn } from "./deadline.ts";
import type { Foundation } from "./foundation.ts";
import type { ReachEntry } from "./reaching/entry.ts";
import { startEscalate } from "./reaching/escalate.ts";
import type { Escalation } from "./reaching/escalations.ts";
import { escalateConsumer, lookConsumer, reachConsumer } from "./reaching/layout.ts";
import { startReach } from "./reaching/watch.ts";
import { toRecallState } from "./recalling/findings.ts";
import { recall } from "./recalling/recall.ts";
import { reportLookConsumer } from "./reporting/layout.ts";
import { type ReportedNotification, toReported } from "./reporting/reports.ts";
import { createReportWatch } from "./reporting/watch.ts";
import { startReportWebhook } from "./reporting/webhook.ts";
import { expand } from "./sending/fan-out.ts";
import { findToRecall } from "./sending/find-send.ts";
import { dueJobs, fanoutJobs, lanes } from "./sending/layout.ts";
import type { SendRecord } from "./sending/record.ts";
import { deliverDue } from "./sending/schedule.ts";
import { storeBounds } from "./store-bounds.ts";

/** The work of an instance that nobody waits for. */
export interface Jobs {
  /** Ends it, with what is under way finished or left for the next start. */
  stop(): Promise<void>;
}

/** How long what is due may take after a jump of the clock, in milliseconds: a webhook may be slow, or down. */
const afterJumpMs = 5_000;

/**
 * Starts the jobs: what is sent to groups is expanded, what is scheduled goes out, and what is stored is watched until
 * it has reached, or is escalated.
 */
export async function startJobs({
  store,
  metrics,
  webhook,
  reportWebhook,
  delivering,
  tracking,
  ...rest
}: Foundation): Promise<Jobs> {
  const { config, log, clock, connections } = rest;
  const { collapsing } = delivering;
  const { fanout, schedule, live, cursors, escalations, deadLetters, laterLooks, consumeReach: consume } = store;
  /** How to end what was started, in the order in which it was. */
  const stops: (() => Promise<void> | void)[] = [];
  const stop = async () => {
    for (let end = stops.pop(); end !== undefined; end = stops.pop()) {
      await Promise.resolve(end()).catch((err: unknown) => log.error({ err }, "a job did not stop cleanly"));
    }
  };

  const recallAgain = async (serverMsgId: string, operationId: string) => {
    await recall(tracking, await findToRecall(tracking, { serverMsgId, clientMsgId: "" }), operationId);
  };
  const { publishWake: wake } = live;
  const escalate = webhook && escalations.escalate;
  const { sends, recalls, reports, reportLooks } = store;
  const { escalationDelay: escalationDelayMs, retention: retentionMs } = config;
  try {
    stops.push(await fanout.work((job, signal) => expand({ ...tracking, collapsing, recallAgain }, job, signal)));
    stops.push(await schedule.work((due) => deliverDue(delivering, due)));

    const reporting = createReportWatch({
      ...{ reports, looks: reportLooks, cursors, retentionMs, clock },
      findWithdrawal: async (serverMsgId) => {
        const mark = await recalls.find(serverMsgId);
        return mark && { state: toRecallState(mark), atMs: mark.atMs };
      },
      find: async (serverMsgId) => toReportedSend(await sends.find({ serverMsgId, clientMsgId: "" })),
    });
    stops.push(await reportLooks.consume(reporting.look));
    const report = (entries: readonly ReachEntry[]) =>
      reporting.begin(entries.map(({ reportId: serverMsgId = "", ...entry }) => ({ ...entry, serverMsgId })));
    const reach = await startReach({
      ...{ consume, later: laterLooks.add, cursors, wake, escalate, escalationDelayMs, report, clock, log },
      // What the broker was told to give again in a while comes when it was told, whatever our clock does.
      ...(clock.jumps && { maxNakMs: 0 }),
    });
    stops.push(reach.stop);
    const watched = Array.from({ length: config.partitions }, (_, partition) => {
      const { stream, durable: consumer } = reachConsumer(partition);
      return { stream, consumer };
    });
    const { streams } = store;
    watchBroker(metrics, { broker: connections.signals, streams, bounds: storeBounds(config), watched });
    metrics.count("mustreach_reach_total", "What came of stored notifications, by `outcome`.", () => ({
      ...reach.counts,
    }));
    if (webhook !== undefined) {
      const report = ({ notification, userId }: Escalation) =>
        reports.tell([{ notification: toReported(notification), userId, state: "escalated" }]);
      const escalating = await startEscalate({ escalations, deadLetters, cursors, webhook, report, clock, log });
      stops.push(escalating.stop);
      metrics.count("mustreach_escalations_total", "What came of escalations, by `outcome`.", () => ({
        ...escalating.counts,
      }));
    }
    if (reportWebhook !== undefined) {
      const { reportPages: pages, reportTurn: turn, reportsTold: told } = store;
      const posting = await startReportWebhook({ pages, turn, told, webhook: reportWebhook, log });
      stops.push(posting.stop);
      metrics.count("mustreach_report_webhook_total", "What came of reports at the webhook, by `outcome`.", () => ({
        ...posting.counts,
      }));
    }
    const fanouts = Array.from({ length: lanes }, (_, lane) => fanoutJobs(lane));
    const escalates = webhook === undefined ? [] : [escalateConsumer];
    clock.jumps?.after(async () => {
      const { signals } = connections;
      const deadline = deadlineIn(afterJumpMs);
      await givenOut(signals, "done", [dueJobs, ...fanouts], deadline);
      const inboxes = watched.map(({ stream, consumer: durable }) => ({ stream, durable }));
      await givenOut(signals, "delivered", inboxes, deadline);
      await reach.catchUp();
      await givenOut(signals, "done", [lookConsumer, ...escalates, reportLookConsumer], deadline);
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop };
}

/** A send as reports name it, if its end is reported. */
function toReportedSend(record: SendRecord | undefined): ReportedNotification | undefined {
  if (record?.reportKey === undefined) return undefined;
  const { serverMsgId, clientMsgId, reportKey: key, deliverAtMs, sendTime } = record;
  return { serverMsgId, clientMsgId, key, sendTimeMs: deliverAtMs || sendTime };
}
