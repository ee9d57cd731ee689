import { watchBroker } from "./broker-metrics.ts";
import type { Foundation } from "./foundation.ts";
import { inboxStream } from "./inbox/layout.ts";
import { startEscalate } from "./reaching/escalate.ts";
import { reachConsumer } from "./reaching/layout.ts";
import { startReach } from "./reaching/watch.ts";
import { recall } from "./recalling/recall.ts";
import { expand } from "./sending/fan-out.ts";
import { findToRecall } from "./sending/find-send.ts";
import { deliverDue } from "./sending/schedule.ts";

/** The work of an instance that nobody waits for. */
export interface Jobs {
  /** Ends it, with what is under way finished or left for the next start. */
  stop(): Promise<void>;
}

/**
 * Starts the jobs: what is sent to groups is expanded, what is scheduled goes out, and what is stored is watched until
 * it has reached, or is escalated.
 */
export async function startJobs({ store, metrics, webhook, delivering, tracking, ...rest }: Foundation): Promise<Jobs> {
  const { config, log, connections } = rest;
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
  const { escalationDelay: escalationDelayMs } = config;
  try {
    stops.push(await fanout.work((job, signal) => expand({ ...tracking, recallAgain }, job, signal)));
    stops.push(await schedule.work((due) => deliverDue(delivering, due)));

    const reach = await startReach({ consume, later: laterLooks.add, cursors, wake, escalate, escalationDelayMs, log });
    stops.push(reach.stop);
    const inboxes = Array.from({ length: config.partitions }, (_, partition) => inboxStream(partition));
    const watched = inboxes.map((stream) => ({ stream, consumer: reachConsumer }));
    watchBroker(metrics, { broker: connections.signals, streams: store.streams, watched });
    metrics.count("mustreach_reach_total", "What came of stored notifications, by `outcome`.", () => ({
      ...reach.counts,
    }));
    if (webhook !== undefined) {
      const escalating = await startEscalate({ escalations, deadLetters, cursors, webhook, log });
      stops.push(escalating.stop);
      metrics.count("mustreach_escalations_total", "What came of escalations, by `outcome`.", () => ({
        ...escalating.counts,
      }));
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop };
}
