import type { Logger } from "pino";
import { createAuthenticator, createAuthGate } from "./auth/authenticate.ts";
import { createTokenMinter, type TokenMinter } from "./auth/mint-token.ts";
import { loadTokenSecret } from "./auth/secret.ts";
import { createAuthService } from "./auth/service.ts";
import { createTokenVerifier } from "./auth/verify-token.ts";
import { type Config, ConfigError } from "./config.ts";
import { createAcknowledge } from "./delivery/acknowledge.ts";
import { createGroupPush } from "./delivery/group-push.ts";
import { createHub } from "./delivery/hub.ts";
import { createResume } from "./delivery/resume.ts";
import { createDeliveryService } from "./delivery/service.ts";
import { createSubscribe } from "./delivery/subscribe.ts";
import { requireGroup } from "./directory/require-group.ts";
import { createGroupService } from "./directory/service.ts";
import { Durability } from "./gen/mustreach/msg/v1/msg_pb.ts";
import { createAudience } from "./msg/audience.ts";
import { createDeliver } from "./msg/deliver.ts";
import { createExpand } from "./msg/expand.ts";
import { createFindSend } from "./msg/find-send.ts";
import { createGetDeliveryStatus } from "./msg/get-delivery-status.ts";
import { createRecall } from "./msg/recall.ts";
import { createDeliverDue, createLater } from "./msg/schedule.ts";
import { createSend } from "./msg/send.ts";
import { createSendBatch } from "./msg/send-batch.ts";
import { createMsgService } from "./msg/service.ts";
import { createWithdraw } from "./msg/withdraw.ts";
import { auditBroker, type BrokerAudit, durabilityName } from "./nats/audit.ts";
import { type Broker, connectBroker } from "./nats/connect.ts";
import { openCursors } from "./nats/cursors.ts";
import { createDirectGet } from "./nats/direct-get.ts";
import { type EmbeddedBroker, startEmbeddedBroker } from "./nats/embedded.ts";
import { openFanout } from "./nats/fanout.ts";
import { createGroups } from "./nats/groups.ts";
import { createInbox } from "./nats/inbox.ts";
import { createLive } from "./nats/live.ts";
import { createPublisher } from "./nats/publish.ts";
import { createRecalls } from "./nats/recalls.ts";
import { openRevocations } from "./nats/revocations.ts";
import { openSchedule } from "./nats/schedule.ts";
import { createSends } from "./nats/sends.ts";
import { findNatsServer } from "./nats/server-binary.ts";
import { declareStreams, missingStreams } from "./nats/streams.ts";
import { createCallLog } from "./observe/call-log.ts";
import { createHealth, type Readiness } from "./observe/health.ts";
import { createGate } from "./transport/gate.ts";
import { createListener } from "./transport/listener.ts";
import { createRoutes, shutdownReason } from "./transport/routes.ts";

/** A running instance of Mustreach. */
export interface Server {
  /** Where it answers, such as `http://127.0.0.1:10002`. */
  readonly url: string;
  readonly port: number;
  /** Mints tokens with the instance's secret. */
  readonly mint: TokenMinter;
  /** The process id of the embedded broker; undefined with an external one. */
  brokerPid(): number | undefined;
  /** Ends sessions with a `reconnect`, answers what is under way, stores cursors, and stops the embedded broker. */
  stop(): Promise<void>;
}

/** What every message has besides its data, at most, in bytes: ids, key and headers. */
const maxOverheadBytes = 16_384;

/** A device that stays away longer than the retention and this, in milliseconds, has no cursor: 90 days. */
const cursorGraceMs = 90 * 86_400_000;

/** Tokens live at most this long, in milliseconds, as far as revocations are kept: OpenIM's 90 days, and a day. */
const minRevocationTtlMs = 91 * 86_400_000;

/**
 * Builds an instance from its settings and starts it: broker, streams, services, port, in this order. Stopping goes
 * the other way round.
 *
 * @throws when the broker cannot be started or reached, is unfit, or the port is taken; what was started is stopped.
 */
export async function startServer(config: Config, log: Logger): Promise<Server> {
  /** What to undo, in the order in which it was done. */
  const started: (() => Promise<void> | void)[] = [];
  const stop = async () => {
    for (let undo = started.pop(); undo !== undefined; undo = started.pop()) {
      await Promise.resolve(undo()).catch((err: unknown) => log.error({ err }, "a part did not stop cleanly"));
    }
  };

  try {
    const secret = await loadTokenSecret(config);
    const embedded = config.natsUrl === undefined ? await startBroker(config, log) : undefined;
    if (embedded !== undefined) started.push(() => embedded.stop());
    const broker = await connectBroker({
      servers: embedded === undefined ? (config.natsUrl ?? []) : [embedded.url],
      user: embedded?.user,
      pass: embedded?.pass,
      creds: config.natsCreds,
      requestTimeoutMs: config.sendTimeout,
      log,
    });
    started.push(() => broker.close());

    let audit = await auditBroker(broker, config.replicas);
    requirePayload(audit, config);
    for (const warning of audit.warnings) log.warn(warning);
    const isNew = await declareStreams(broker, {
      partitions: config.partitions,
      replicas: config.replicas,
      retentionMs: config.retention,
      maxStoreBytes: config.maxStoreBytes,
    });

    const publisher = createPublisher(broker, {
      sendTimeoutMs: config.sendTimeout,
      isFsynced: () => audit.durability === Durability.FSYNCED,
    });
    const directGet = createDirectGet(broker, { timeoutMs: config.sendTimeout });
    started.push(() => directGet.close());
    const inbox = createInbox(broker, publisher, directGet, config.partitions);
    const sends = createSends(publisher, directGet, config.partitions);
    const live = createLive(broker, publisher, config.partitions);
    const cursors = await openCursors(broker, directGet, {
      replicas: config.replicas,
      ttlMs: config.retention + cursorGraceMs,
      reset: isNew,
      log,
    });
    started.push(() => cursors.close());
    const revocations = await openRevocations(broker, {
      replicas: config.replicas,
      ttlMs: Math.max(config.tokenTtl, minRevocationTtlMs),
      log,
    });
    started.push(() => revocations.close());

    const mint = createTokenMinter({ secret, ttlMs: config.tokenTtl });
    const verify = createTokenVerifier({
      secret,
      adminUserIds: config.adminUserIds,
      jwks:
        config.jwksUrl === undefined
          ? undefined
          : { url: config.jwksUrl, issuer: config.jwtIssuer, audience: config.jwtAudience },
      revokedAtMs: revocations.revokedAtMs,
    });
    const groups = await createGroups(broker, directGet, {
      replicas: config.replicas,
      timeoutMs: config.sendTimeout,
      // A scheduled send, and the status of any, ask for the members of that time.
      historyMs: 2 * config.retention,
      onMembershipChange: ({ userIds, ...signal }) => live.publishMember(userIds, signal),
    });
    const groupIdsOf = async (userId: string) => (await groups.joined(userId)).map(({ groupId }) => groupId);
    const membersAt = async (groupId: string, version: number) =>
      (await groups.membersAt(groupId, version)).map(({ userId }) => userId);
    const groupPush = createGroupPush(live, groupIdsOf);
    const hub = createHub({
      inbox,
      live,
      cursors,
      groupPush,
      maxSessions: config.maxSessions,
      heartbeatMs: config.heartbeat,
      log,
    });
    revocations.onRevoke(({ userId }) => hub.endRevoked(userId));
    broker.onReconnect(() => {
      hub.reconcileAll();
      auditBroker(broker, config.replicas).then(
        (again) => {
          audit = again;
        },
        (err: unknown) => log.error({ err }, "the broker that answers now is unfit"),
      );
    });

    const queues = { replicas: config.replicas, log };
    const fanout = await openFanout(broker, publisher, directGet, queues);
    const schedule = await openSchedule(broker, publisher, directGet, queues);
    const deliver = createDeliver(inbox, fanout);
    const send = createSend({
      sends,
      live,
      deliver,
      later: createLater(schedule),
      groupVersion: async (groupId) => (await requireGroup(groups, groupId)).version,
      senderSync: config.senderSync,
      durability: () => audit.durability,
    });
    started.push(await fanout.work(createExpand({ inbox, sends, membersAt })));
    started.push(await schedule.work(createDeliverDue(sends, deliver)));
    const findSend = createFindSend(sends, createAudience(membersAt));
    const recalls = createRecalls(publisher, directGet, config.partitions);
    const withdraw = createWithdraw(inbox, cursors);
    const limits = { maxDataBytes: config.maxDataBytes, retentionMs: config.retention };
    const msg = createMsgService({
      limits,
      send,
      sendBatch: createSendBatch({ send, limits, log }),
      getDeliveryStatus: createGetDeliveryStatus({ findSend, sends, recalls, inbox, cursors, ...limits }),
      recall: createRecall({ findSend, sends, recalls, withdraw, cancelScheduled: schedule.cancel }),
    });
    const subscribe = createSubscribe(hub, createResume(inbox, cursors), cursors, revocations.revokedAtMs);
    const shutdown = new AbortController();
    const listener = createListener({
      handler: createRoutes({
        msg,
        delivery: createDeliveryService(subscribe, createAcknowledge(hub, inbox, cursors)),
        auth: createAuthService({
          secret,
          adminUserIds: config.adminUserIds,
          mint,
          verify,
          revoke: revocations.revoke,
        }),
        groups: createGroupService({ groups }),
        gate: createGate(createAuthGate(createAuthenticator(verify))),
        interceptors: [createCallLog(log)],
        log,
        health: createHealth(() => checkReadiness(broker, audit, config.partitions, hub.size())),
        maxNotificationBytes: config.maxDataBytes + maxOverheadBytes,
        shutdownSignal: shutdown.signal,
      }),
      log,
    });
    const address = await listener.listen({ host: config.host, port: config.port });
    started.push(async () => {
      hub.drain();
      const deadline = setTimeout(() => shutdown.abort(shutdownReason), config.drainTimeout * 0.8);
      await listener.drain(config.drainTimeout).finally(() => clearTimeout(deadline));
    });
    log.info({ url: address.url, broker: audit.version, durability: durabilityName(audit.durability) }, "listening");
    return { url: address.url, port: address.port, mint, brokerPid: () => embedded?.pid(), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startBroker(config: Config, log: Logger): Promise<EmbeddedBroker> {
  const binary = await findNatsServer({ configured: config.natsServer, log });
  return startEmbeddedBroker({
    binary,
    dataDir: config.dataDir,
    maxPayloadBytes: Math.max(1_048_576, config.maxDataBytes + maxOverheadBytes),
    log,
  });
}

function requirePayload({ maxPayloadBytes }: BrokerAudit, { maxDataBytes }: Config): void {
  if (maxDataBytes + maxOverheadBytes <= maxPayloadBytes) return;
  throw new ConfigError(
    `MUSTREACH_MAX_DATA_BYTES is ${maxDataBytes}, but the broker takes messages of ${maxPayloadBytes} bytes (max_payload), ` +
      `${maxOverheadBytes} of which are not data. See README.md, section Configuration.`,
  );
}

async function checkReadiness(
  broker: Broker,
  audit: BrokerAudit,
  partitions: number,
  sessions: number,
): Promise<Readiness> {
  const problems: string[] = [];
  if (!broker.isConnected()) problems.push("the broker cannot be reached");
  else {
    const missing = await missingStreams(broker, partitions).catch(() => undefined);
    if (missing === undefined) problems.push("the broker does not answer");
    else if (missing.length > 0) problems.push(`streams are missing: ${missing.join(", ")}`);
  }
  return {
    ready: problems.length === 0,
    problems,
    broker: { connected: broker.isConnected(), version: audit.version },
    durability: durabilityName(audit.durability),
    warnings: audit.warnings,
    sessions,
  };
}
