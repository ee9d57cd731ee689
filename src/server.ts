import { createServiceImplSpec } from "@connectrpc/connect";
import type { Logger } from "pino";
import { createAuthenticator, createAuthGate } from "./auth/authenticate.ts";
import { createCredentials } from "./auth/credentials.ts";
import type { TokenMinter } from "./auth/mint-token.ts";
import { loadTokenSecret } from "./auth/secret.ts";
import { createAuthService } from "./auth/service.ts";
import { type Connections, openConnections } from "./broker/connect.ts";
import type { Config } from "./config.ts";
import { startAdmin } from "./doors/admin.ts";
import { createRoutes, shutdownReason } from "./doors/routes.ts";
import { findNatsServer } from "./embedded/find.ts";
import { type EmbeddedBroker, startEmbeddedBroker } from "./embedded/start.ts";
import { AuthService } from "./gen/mustreach/auth/v1/auth_pb.ts";
import { DeadLetterService } from "./gen/mustreach/delivery/v1/dead_letter_pb.ts";
import { DeliveryService, Gap_Reason } from "./gen/mustreach/delivery/v1/delivery_pb.ts";
import { GroupService } from "./gen/mustreach/directory/v1/directory_pb.ts";
import { Durability, MsgService } from "./gen/mustreach/msg/v1/msg_pb.ts";
import { requireActive } from "./groups/records.ts";
import { createGroupService } from "./groups/service.ts";
import { createListener } from "./http/listener.ts";
import { maxOverheadBytes } from "./limits.ts";
import { createCallLog } from "./observe/call-log.ts";
import { createHealth, type Readiness } from "./observe/health.ts";
import { droppedLines } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import { peerKey } from "./observe/peer.ts";
import { startEscalate } from "./reaching/escalate.ts";
import { replay } from "./reaching/replay.ts";
import { createDeadLetterService } from "./reaching/service.ts";
import { startReach } from "./reaching/watch.ts";
import { createWebhook, type Webhook } from "./reaching/webhook.ts";
import { recall } from "./recalling/recall.ts";
import { removeEverywhere } from "./recalling/remove-everywhere.ts";
import { createAdmission } from "./receiving/admission.ts";
import { createGroupPush } from "./receiving/group-push.ts";
import { createHub } from "./receiving/hub.ts";
import { createPushMemory } from "./receiving/push-queue.ts";
import { createDeliveryService } from "./receiving/service.ts";
import { type ResumeRequest, resume } from "./receiving/subscribe.ts";
import { expand } from "./sending/fan-out.ts";
import { findSend } from "./sending/find-send.ts";
import { deliverDue } from "./sending/schedule.ts";
import { createMsgService } from "./sending/service.ts";
import { openStore, type Store } from "./store.ts";

/** A running instance of Mustreach. */
export interface Server {
  /** Where it answers, such as `http://127.0.0.1:10002`. */
  readonly url: string;
  readonly port: number;
  /** Where the operator's port answers, such as `http://127.0.0.1:10003`; undefined when it is off. */
  readonly adminUrl: string | undefined;
  /** Mints tokens with the instance's secret. */
  readonly mint: TokenMinter;
  /** The process id of the embedded broker; undefined with an external one. */
  brokerPid(): number | undefined;
  /**
   * Puts the token secret of the settings, or of the data directory, in force, and fetches the keys of the identity
   * provider again at their next use. Nothing else changes; sessions stay.
   */
  reload(config: Pick<Config, "tokenSecret" | "dataDir">): Promise<void>;
  /** Ends sessions with a `reconnect`, answers what is under way, stores cursors, and stops the embedded broker. */
  stop(): Promise<void>;
}

/**
 * Builds an instance from its settings and starts it: broker, streams, services, workers, port, in this order. Stopping
 * goes the other way round.
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
    const connections = await openConnections({
      servers: embedded === undefined ? (config.natsUrl ?? []) : [embedded.url],
      dial: embedded?.dial,
      creds: config.natsCreds,
      requestTimeoutMs: config.sendTimeout,
      // Our own broker is there by now; anybody else's may be started after us.
      waitMs: embedded === undefined ? Number.POSITIVE_INFINITY : 0,
      log,
    });
    started.push(() => connections.close());
    const store = await openStore(connections, config, log);
    started.push(() => store.close());
    const {
      inbox,
      sends,
      recalls,
      tombstones,
      live,
      openSession,
      cursors,
      revocations,
      groups,
      chat,
      fanout,
      schedule,
    } = store;

    // Who calls.
    const { adminUserIds } = config;
    const { revokedAtMs, revoke } = revocations;
    const jwks = toJwks(config);
    const credentials = createCredentials({ secret, ttlMs: config.tokenTtl, adminUserIds, jwks, revokedAtMs });
    const { mint, verify } = credentials;
    const auth = createAuthService({
      ...{ secret: credentials.secret, adminUserIds, mint, verify, revoke },
      peerOf: ({ values }) => values.get(peerKey),
    });

    // Who is in which group.
    const groupIdsOf = async (userId: string) => (await groups.joined(userId)).map(({ groupId }) => groupId);
    const groupVersion = async (groupId: string) => requireActive(await groups.find(groupId)).version;
    const membersAt = async (groupId: string, version: number) =>
      (await groups.membersAt(groupId, version)).map(({ userId }) => userId);

    // Receiving.
    const admission = createAdmission(config);
    const pushMemory = createPushMemory(config.maxWaitingPushBytes);
    const isBrokerAway = () => !connections.isConnected();
    const { heartbeat: heartbeatMs } = config;
    const groupPush = createGroupPush(live, groupIdsOf);
    const metrics = createMetrics({ services: [DeliveryService], brokerVersion: () => store.audit().version });
    const onGap = (reason: Gap_Reason) => {
      if (reason === Gap_Reason.STORE_CHANGED) metrics.gap("store_changed");
      else metrics.gap(reason === Gap_Reason.RETENTION ? "retention" : "expired");
    };
    const receiving = { inbox, live, openSession, cursors, groupPush, admission, pushMemory };
    const hub = createHub({ ...receiving, onGap, isBrokerAway, heartbeatMs, log });
    metrics.watch("mustreach_sessions", "Sessions of devices now.", hub.size);
    metrics.watch("mustreach_waiting_push_bytes", "Online pushes that wait for devices, in bytes.", pushMemory.bytes);
    metrics.watch("mustreach_broker_connected", "1 while all connections to the broker are up, else 0.", () =>
      connections.isConnected() ? 1 : 0,
    );
    const lost = () => droppedLines(log);
    metrics.count("mustreach_log_lines_dropped_total", "Lines of the log that could not be written.", lost);
    revocations.onRevoke(({ userId }) => hub.endRevoked(userId));
    connections.signals.onReconnect(() => hub.reconcileAll());
    const toPlace = (request: ResumeRequest) => resume({ inbox, cursors }, request);
    const delivery = createDeliveryService({ hub, inbox, cursors, revokedAtMs, resume: toPlace });

    // Sending.
    const { maxDataBytes, retention: retentionMs } = config;
    const limits = { maxDataBytes, retentionMs, maxPayloadBytes: () => store.audit().maxPayloadBytes };
    const durability = () => Durability[store.audit().durability];
    const delivering = { inbox, fanout, chat, sends, recalls, live, senderSync: config.senderSync };
    const sending = { ...delivering, later: schedule.add, groupVersion, durability };
    const purge = { broker: connections.signals, partitions: config.partitions };
    const tracking = {
      ...{ sends, recalls, inbox, tombstones, cursors, membersAt, retentionMs },
      cancelScheduled: schedule.cancel,
      removeEverywhere: (id: string, found: ReadonlyMap<string, number>) => removeEverywhere(purge, id, found),
    };
    const recallAgain = async (serverMsgId: string, operationId: string) => {
      await recall(tracking, await findSend(tracking, { serverMsgId, clientMsgId: "" }), operationId);
    };
    started.push(await fanout.work((job, signal) => expand({ ...tracking, recallAgain }, job, signal)));
    started.push(await schedule.work((due) => deliverDue(delivering, due)));

    // Until it has reached.
    const { escalations, deadLetters } = store;
    const webhook = toWebhook(config);
    const escalate = webhook && escalations.escalate;
    const { publishWake: wake } = live;
    const { escalationDelay: escalationDelayMs } = config;
    const { consumeReach: consume, laterLooks } = store;
    const reach = await startReach({ consume, later: laterLooks.add, cursors, wake, escalate, escalationDelayMs, log });
    started.push(reach.stop);
    metrics.count("mustreach_reach_total", "What came of stored notifications, by `outcome`.", () => ({
      ...reach.counts,
    }));
    if (webhook !== undefined) {
      const { counts, stop } = await startEscalate({ escalations, deadLetters, cursors, webhook, log });
      started.push(stop);
      metrics.count("mustreach_escalations_total", "What came of escalations, by `outcome`.", () => ({ ...counts }));
    }
    const replaying = { deadLetters, escalations: webhook && escalations };

    // Asking about what was sent.
    const msg = createMsgService({
      limits,
      sending,
      log,
      tracking,
      conversations: { chat, groupIdsOf },
    });

    const health = createHealth(() => checkReadiness(connections, store, hub.size()));
    const { adminHost, adminPort } = config;
    const admin =
      adminPort === undefined
        ? undefined
        : await startAdmin({ host: adminHost, port: adminPort, health, metrics, log });
    if (admin !== undefined) started.push(admin.stop);

    const callLog = createCallLog(log, metrics);
    const shutdown = new AbortController();
    const handler = createRoutes({
      services: [
        createServiceImplSpec<typeof MsgService>(MsgService, msg),
        createServiceImplSpec<typeof DeliveryService>(DeliveryService, delivery),
        createServiceImplSpec<typeof AuthService>(AuthService, auth),
        createServiceImplSpec<typeof GroupService>(GroupService, createGroupService({ groups })),
        createServiceImplSpec<typeof DeadLetterService>(
          DeadLetterService,
          createDeadLetterService({ deadLetters, replay: (request) => replay(replaying, request) }),
        ),
      ],
      authenticate: createAuthGate(createAuthenticator(verify)),
      callLog,
      health,
      strictJson: config.strictJson,
      maxNotificationBytes: config.maxDataBytes + maxOverheadBytes,
      shutdownSignal: shutdown.signal,
      log,
    });
    const listener = createListener({ handler, log });
    metrics.watch("mustreach_connections", "Connections to the port now.", () => listener.counts().connections);
    const refused = () => listener.counts().refused;
    metrics.count("mustreach_connections_refused_total", "Connections refused by a limit of the port.", refused);
    const { url, port } = await listener.listen({ host: config.host, port: config.port });
    started.push(async () => {
      hub.drain();
      const deadline = setTimeout(() => shutdown.abort(shutdownReason), config.drainTimeout * 0.8);
      await listener.drain(config.drainTimeout).finally(() => clearTimeout(deadline));
    });
    const adminUrl = admin?.url;
    log.info({ url, adminUrl, broker: store.audit().version, durability: store.audit().durability }, "listening");
    const reload: Server["reload"] = async (next) => credentials.renew(await loadTokenSecret(next));
    return { url, port, adminUrl, mint, brokerPid: () => embedded?.pid(), reload, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startBroker(config: Config, log: Logger): Promise<EmbeddedBroker> {
  const binary = await findNatsServer({ configured: config.natsServer, log });
  const maxPayloadBytes = Math.max(1_048_576, config.maxDataBytes + maxOverheadBytes);
  return startEmbeddedBroker({ binary, dataDir: config.dataDir, maxPayloadBytes, log });
}

function toWebhook({ escalationUrl: url, escalationSecret: keys }: Config): Webhook | undefined {
  return url === undefined || keys === undefined ? undefined : createWebhook({ url, keys });
}

function toJwks({ jwksUrl: url, jwtIssuer: issuer, jwtAudience: audience, jwtUserClaim, jwtAdminClaim }: Config) {
  if (url === undefined || audience === undefined) return undefined;
  return { url, issuer, audience, userClaim: jwtUserClaim, adminClaim: jwtAdminClaim };
}

async function checkReadiness(broker: Connections, store: Store, sessions: number): Promise<Readiness> {
  const { version, durability, warnings } = store.audit();
  const problems = broker.isConnected()
    ? await store.problems().catch(() => ["the broker does not answer"])
    : ["the broker cannot be reached"];
  return {
    ready: problems.length === 0,
    problems,
    broker: { connected: broker.isConnected(), version },
    durability,
    warnings,
    sessions,
  };
}
