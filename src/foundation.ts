import type { Logger } from "pino";
import { type Connections, openConnections } from "./broker/connect.ts";
import { type Clock, systemClock } from "./clock.ts";
import { createCollapsing } from "./collapsing/collapse.ts";
import type { Config } from "./config.ts";
import type { EmbeddedBroker } from "./embedded/start.ts";
import { Health } from "./gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "./gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1alpha } from "./gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { DeliveryService } from "./gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Readiness } from "./observe/health.ts";
import { droppedLines } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import { type RecallableSend, recall } from "./recalling/recall.ts";
import { removeEverywhere } from "./recalling/remove-everywhere.ts";
import { openStore, type Store } from "./store.ts";
import { startTracing } from "./tracing/start.ts";
import { createWebhook, type Webhook } from "./webhook/post.ts";

/** What jobs and doors stand on, each process its own: the connections to the broker, what is kept there, the metrics. */
export type Foundation = Awaited<ReturnType<typeof openFoundation>>;

interface FoundationOptions {
  readonly config: Config;
  readonly log: Logger;
  /** How to connect to the embedded broker. Undefined: to the one at MUSTREACH_NATS_URL. */
  readonly embedded: Pick<EmbeddedBroker, "url" | "dial"> | undefined;
  /** Default: the system's. */
  readonly clock?: Clock;
}

/**
 * Connects to the broker, and declares what is kept in it.
 *
 * @throws as {@link openConnections} and {@link openStore}; what was opened is closed.
 */
export async function openFoundation({ config, log, embedded, clock = systemClock }: FoundationOptions) {
  const connections = await openConnections({
    servers: embedded === undefined ? (config.natsUrl ?? []) : [embedded.url],
    dial: embedded?.dial,
    creds: config.natsCreds,
    requestTimeoutMs: config.sendTimeout,
    // Our own broker is there by now; anybody else's may be started after us.
    waitMs: embedded === undefined ? Number.POSITIVE_INFINITY : 0,
    log,
  });
  let stopTracing = async () => {};
  try {
    stopTracing = await startTracing(process.env, log);
    const metrics = createMetrics({
      services: [DeliveryService, Health, ServerReflection, ServerReflectionV1alpha],
      brokerVersion: () => store?.audit().version ?? "",
    });
    const store: Store = await openStore(connections, config, {
      log,
      clock,
      onWriteAnswered: metrics.storeWrites.observe,
    });
    metrics.watch(
      "mustreach_broker_connected",
      "1 while all connections to the broker are up, else 0.",
      () => (connections.isConnected() ? 1 : 0),
      { ofAll: "min" },
    );
    const reconnects = countReconnects(connections);
    metrics.count(
      "mustreach_broker_reconnects_total",
      "Times that a connection to the broker was made again.",
      reconnects,
    );
    const lost = () => droppedLines(log);
    const { reports } = store;
    metrics.count("mustreach_reports_total", "Reports of what became of notifications, by `outcome`.", () => ({
      ...reports.counts,
    }));
    metrics.count("mustreach_log_lines_dropped_total", "Lines of the log that could not be written.", lost);
    const tracking = { ...toTracking(store, connections, config), clock };
    return {
      ...{ config, log, clock, connections, store, metrics },
      webhook: toWebhook(config.escalationUrl, config.escalationSecret),
      reportWebhook: toWebhook(config.reportWebhookUrl, config.reportWebhookSecret),
      delivering: { ...toDelivering(store, config), collapsing: toCollapsing(store, tracking), clock },
      tracking,
      /** Stores what is in memory, and disconnects. */
      async close() {
        await store.close().finally(connections.close).finally(stopTracing);
      },
    };
  } catch (error) {
    await stopTracing();
    await connections.close();
    throw error;
  }
}

function countReconnects({ signals, reads, writes }: Connections): () => number {
  let count = 0;
  for (const broker of [signals, reads, writes]) broker.onReconnect(() => count++);
  return () => count;
}

/** What a notification is delivered with: at once, at its time, or to the members of a group. */
function toDelivering({ inbox, fanout, chat, sends, recalls, live, echo }: Store, { senderSync }: Config) {
  return { inbox, fanout, chat, sends, recalls, live, echo: senderSync ? echo : undefined };
}

/** What finds out what became of a notification, and takes it back. */
function toTracking(store: Store, connections: Connections, { retention: retentionMs, partitions }: Config) {
  const { sends, recalls, inbox, tombstones, cursors, groups, schedule, reports } = store;
  const purge = { broker: connections.signals, partitions };
  return {
    ...{ sends, recalls, inbox, tombstones, cursors, retentionMs },
    membersAt: async (groupId: string, version: number) =>
      (await groups.membersAt(groupId, version)).map(({ userId }) => userId),
    cancelScheduled: schedule.cancel,
    report: (
      { reportKey = "", deliverAtMs, ...record }: RecallableSend["record"],
      userIds: readonly string[],
      state: "recalled" | "collapsed" | "delivered",
    ) => {
      const notification = { ...record, key: reportKey, sendTimeMs: deliverAtMs || record.sendTime };
      return reports.tell(userIds.map((userId) => ({ notification, userId, state })));
    },
    removeEverywhere: (id: string, found: ReadonlyMap<string, number>) => removeEverywhere(purge, id, found),
  };
}

/** What has the newest notification of a key replace those before it. */
function toCollapsing({ candidates, recalls }: Store, tracking: ReturnType<typeof toTracking>) {
  const withdraw = (send: RecallableSend, operationId: string, replacedBy: string) =>
    recall(tracking, send, operationId, replacedBy);
  return createCollapsing({ candidates, recalls, membersAt: tracking.membersAt, withdraw });
}

function toWebhook(url: Config["escalationUrl"], keys: Config["escalationSecret"]): Webhook | undefined {
  return url === undefined || keys === undefined ? undefined : createWebhook({ url, keys });
}

/** Looks whether a process can keep the promise now; `sessions` are those that it holds. While it stops, nobody is asked. */
export async function checkReadiness(
  { connections, store }: Foundation,
  sessions: number,
  stopping: AbortSignal,
): Promise<Readiness> {
  const { version, durability, warnings } = store.audit();
  const look = async () =>
    connections.isConnected()
      ? store.problems().catch(() => ["the broker does not answer"])
      : ["the broker cannot be reached"];
  const problems = stopping.aborted ? ["the service is stopping"] : await look();
  return {
    ready: problems.length === 0,
    problems,
    broker: { connected: connections.isConnected(), version },
    durability,
    warnings,
    sessions,
  };
}
