import { setTimeout as delay } from "node:timers/promises";
import { createServiceImplSpec } from "@connectrpc/connect";
import { createSendAdmission } from "./admission/admit-sends.ts";
import type { Quota } from "./admission/quota.ts";
import { createAuthenticator, createAuthGate, createCertificateAdmins } from "./auth/authenticate.ts";
import { createCredentials } from "./auth/credentials.ts";
import type { GuessLimit } from "./auth/get-admin-token.ts";
import type { TokenMinter } from "./auth/mint-token.ts";
import type { TokenSecrets } from "./auth/secret.ts";
import { createAuthService } from "./auth/service.ts";
import { auditService } from "./calls/audit.ts";
import type { Config } from "./config.ts";
import { deadlineIn, leftUntil } from "./deadline.ts";
import { createRoutes, shutdownReason } from "./doors/routes.ts";
import { createStandardServices } from "./doors/standard-services.ts";
import { checkReadiness, type Foundation } from "./foundation.ts";
import { AuthService } from "./gen/mustreach/auth/v1/auth_pb.ts";
import { DeadLetterService } from "./gen/mustreach/delivery/v1/dead_letter_pb.ts";
import { DeliveryService, Gap_Reason } from "./gen/mustreach/delivery/v1/delivery_pb.ts";
import { GroupService } from "./gen/mustreach/directory/v1/directory_pb.ts";
import { Durability, MsgService } from "./gen/mustreach/msg/v1/msg_pb.ts";
import { ReportService } from "./gen/mustreach/msg/v1/report_pb.ts";
import { OpenimService } from "./gen/mustreach/openim/v1/openim_pb.ts";
import { requireActive } from "./groups/records.ts";
import { createGroupService } from "./groups/service.ts";
import { createListener, type ListenAt, type Listener, type ListenerAddress } from "./http/listener.ts";
import { createEngine } from "./http2/engine/engine.ts";
import { createNodeHttp2 } from "./http2/node.ts";
import { maxOverheadBytes } from "./limits.ts";
import { createGroupPush } from "./live/group-push.ts";
import { createPushMemory } from "./live/push-queue.ts";
import { openAuditLog } from "./observe/audit-log.ts";
import { createCallLog } from "./observe/call-log.ts";
import { createHealth, type Health } from "./observe/health.ts";
import type { Metrics } from "./observe/metrics.ts";
import { peerKey } from "./observe/peer.ts";
import { createServingStatus } from "./observe/serving-status.ts";
import { createGateway } from "./openim/gateway.ts";
import { createOpenimService } from "./openim/service.ts";
import { replay } from "./reaching/replay.ts";
import { createDeadLetterService } from "./reaching/service.ts";
import type { Admission } from "./receiving/admission.ts";
import { createHub, type Hub } from "./receiving/hub.ts";
import { createReplays } from "./receiving/replays.ts";
import { createDeliveryService } from "./receiving/service.ts";
import { type ResumeRequest, resume } from "./receiving/subscribe.ts";
import type { MarkedItem } from "./receiving/window.ts";
import { createReportService } from "./reporting/service.ts";
import { createSendRules } from "./senders/rules.ts";
import { createMsgService } from "./sending/service.ts";
import { createTickets } from "./tickets/tickets.ts";
import { createTimerWheel } from "./timer-wheel.ts";
import type { TlsMaterial, TlsOptions } from "./tls/tls.ts";
import { traceSends } from "./tracing/spans.ts";
import { countSends } from "./traffic/count-sends.ts";
import { Traffic } from "./traffic/traffic.ts";
import { watchTraffic } from "./traffic/watch-traffic.ts";
import { createWebSockets } from "./websocket/upgrades.ts";

/** Doors and sessions: what answers callers and devices. */
export interface Serving {
  readonly health: Health;
  readonly metrics: Pick<Metrics, "text">;
  readonly mint: TokenMinter;
  /** Opens the port. */
  listen(): Promise<ListenerAddress>;
  /**
   * Puts token secrets and a level of the log in force, and fetches the keys of the identity provider again at their
   * next use.
   */
  reload(secrets: TokenSecrets, logLevel: Config["logLevel"]): Promise<void>;
  /** Puts other certificates in force, for connections that begin from now on. */
  renewTls(certificates: TlsMaterial): Promise<void>;
  /** Replaces the processes that it runs in, if they are others than this one, without a pause. */
  renew(): Promise<void>;
  /** How many of those were replaced since the start, and why. */
  replaced(): Replaced;
  /**
   * Ends sessions with a `reconnect`, and answers what is under way (MUSTREACH_DRAIN_TIMEOUT).
   *
   * @param lingerMs as in `Listener.drain`.
   */
  drain(lingerMs?: number): Promise<void>;
}

/** Processes that were replaced: that ended unasked, that were ended because they stood still, for new ones. */
export type Replaced = Readonly<Record<"died" | "stuck" | "renewed", number>>;

/** Nothing was replaced. */
export const noneReplaced: Replaced = { died: 0, stuck: 0, renewed: 0 };

export interface ServingOptions {
  readonly foundation: Foundation;
  /** The token secrets in force. */
  readonly secrets: TokenSecrets;
  /** Where to listen. */
  readonly at: ListenAt;
  /** Counts sessions, and wrong secrets: for the whole instance. */
  readonly admission: Admission;
  readonly guesses: GuessLimit;
  /** Counts sends, for the whole instance. Undefined: there are no quotas. */
  readonly quota: Quota | undefined;
  /** How many processes divide what bounds an instance's memory and connections. */
  readonly processes: number;
  /** The certificates of the port, as they are now; undefined where it speaks no TLS. */
  readonly certificates: TlsMaterial | undefined;
  /** Aborted when the instance stops, not when another process takes this one's place: from then on it is not ready. */
  readonly stopping: AbortSignal;
}

/** What an instance holds of connections, at most, of those whose protocol is not known yet, and of handshakes of TLS. */
const maxConnections = 50_000;
const maxUndecidedSockets = 10_000;
const maxHandshakes = 2_000;

/** How long devices have before a jump of the clock, in milliseconds: what is due for them, and one that does not come. */
const settleMs = { least: 20, most: 500 } as const;

/** Builds the doors, and what is behind them. */
export function createServing(options: ServingOptions): Serving & Pick<Listener, "closePort"> {
  const { foundation, secrets, admission, guesses, quota, processes, stopping } = options;
  const { config, log, clock, connections, store, metrics, delivering, tracking } = foundation;
  const { inbox, live, findPlatforms, openSession, cursors, revocations, groups, chat, schedule } = store;

  // Who calls.
  const { adminUserIds } = config;
  const { revokedAtMs, revoke } = revocations;
  const jwks = toJwks(config);
  const credentials = createCredentials({ secrets, ttlMs: config.tokenTtl, adminUserIds, jwks, revokedAtMs });
  const { mint, verify } = credentials;
  const tickets = createTickets({ secrets: credentials.secrets, revokedAtMs, use: store.useTicket });
  const auth = createAuthService({
    ...{ secrets: credentials.secrets, adminUserIds, mint, verify, guesses, revoke, issueTicket: tickets.issue },
    peerOf: ({ values }) => values.get(peerKey),
  });

  // Who is in which group.
  const groupIdsOf = async (userId: string) => (await groups.joined(userId)).map(({ groupId }) => groupId);
  const groupVersion = async (groupId: string) => requireActive(await groups.find(groupId)).version;

  // Receiving.
  const pushMemory = createPushMemory(Math.floor(config.maxWaitingPushBytes / processes));
  const isBrokerAway = () => !connections.isConnected();
  const { heartbeat: heartbeatMs } = config;
  const groupPush = createGroupPush({ live, joined: groupIdsOf, readStanding: groups.standing, log });
  const onGap = (reason: Gap_Reason) => {
    if (reason === Gap_Reason.STORE_CHANGED) metrics.gap("store_changed");
    else metrics.gap(reason === Gap_Reason.RETENTION ? "retention" : "expired");
  };
  const timers = createTimerWheel();
  const traffic = new Traffic(metrics.reach);
  const replays = createReplays(config.maxReplays);
  const sessions = { openSession, admission, replays, pushMemory, timers, clock };
  const receiving = { traffic, inbox, live, cursors, groupPush, ...sessions };
  const onMarkedAcknowledged = (userId: string, deviceId: string, items: readonly MarkedItem[]) => {
    const reported = items.flatMap(({ marks }) => (marks.report === undefined ? [] : [marks]));
    store.reportDelivered(userId, deviceId, reported);
  };
  const hub = createHub({ ...receiving, onMarkedAcknowledged, onGap, isBrokerAway, heartbeatMs, log });
  watchTraffic(metrics, { traffic, hub, pushMemory, cursors });
  clock.jumps?.before(() => settled(hub));
  revocations.onRevoke(({ userId }) => hub.endRevoked(userId));
  connections.signals.onReconnect(() => hub.reconcileAll());
  const toPlace = (request: ResumeRequest) => resume({ inbox, cursors }, request);
  const delivery = createDeliveryService({ hub, inbox, cursors, revokedAtMs, resume: toPlace });

  // Sending, and asking about what was sent.
  const { maxDataBytes, retention: retentionMs } = config;
  const maxPayloadBytes = () => store.audit().maxPayloadBytes;
  const limits = { maxDataBytes, retentionMs, maxPayloadBytes, reportKeys: config.reportKeys, clock };
  const durability = () => Durability[store.audit().durability];
  const sending = { ...delivering, later: schedule.add, groupVersion, durability };
  const conversations = { chat, groupIdsOf };
  const sendRules = createSendRules();
  const { storeInOrder } = store;
  const sends = createSendAdmission(config.maxSendsInFlight);
  const admitting = { admission: sends, quota };
  const msg = createMsgService({
    ...{ limits, sending, sendRules, storeInOrder, log },
    tracking,
    conversations,
    ...admitting,
  });
  metrics.watch("mustreach_sends_in_flight", "Sends under way now, those of batches too.", sends.inFlight);
  metrics.watch("mustreach_sends_in_flight_limit", "How many there may be now, by the latency of writes.", sends.limit);
  const crowdedOut = "Calls to send that were refused for want of room among the sends under way.";
  metrics.count("mustreach_sends_crowded_out_total", crowdedOut, sends.refused);

  // What has not reached.
  const { escalations, deadLetters } = store;
  const replaying = { deadLetters, escalations: foundation.webhook && escalations };

  // What has become of notifications, for the back end.
  const closing = new AbortController();
  const { reportPages, reportsTold } = store;
  const reporting = { pages: reportPages, told: reportsTold, heartbeatMs, stopping: closing.signal };

  const health = createHealth(() => checkReadiness(foundation, hub.size(), stopping), stopping);
  const callLog = createCallLog(log, metrics, config.accessLog);
  const shutdown = new AbortController();
  const byCertificate = createCertificateAdmins(config.tlsClientAdmins ?? []);
  const authenticate = createAuthGate(createAuthenticator(verify), byCertificate);
  const deliverySpec = createServiceImplSpec<typeof DeliveryService>(DeliveryService, delivery);
  const audit = openAuditLog(config.audit, log);
  const services = [
    createServiceImplSpec<typeof MsgService>(MsgService, countSends(traceSends(msg), metrics)),
    deliverySpec,
    createServiceImplSpec<typeof AuthService>(AuthService, auth),
    createServiceImplSpec<typeof GroupService>(GroupService, createGroupService({ groups })),
    createServiceImplSpec<typeof DeadLetterService>(
      DeadLetterService,
      createDeadLetterService({ deadLetters, replay: (request) => replay(replaying, request) }),
    ),
    createServiceImplSpec<typeof ReportService>(ReportService, createReportService(reporting)),
    createServiceImplSpec<typeof OpenimService>(OpenimService, createOpenimService({ conversations, findPlatforms })),
  ].map((spec) => auditService(spec, audit));
  const { isConnected, signals, reads, writes } = connections;
  const standard = createStandardServices({
    ...createServingStatus({ health, links: [signals, reads, writes], isConnected }),
    ...{ services, hasReflection: config.reflection, closing: closing.signal },
  });
  const routes = createRoutes({
    services: [...services, ...standard],
    authenticate,
    redeemTicket: tickets.redeem,
    callLog,
    health,
    timers,
    strictJson: config.strictJson,
    maxNotificationBytes: config.maxDataBytes + maxOverheadBytes,
    shutdownSignal: shutdown.signal,
    processes,
    log,
  });
  const openim = createGateway({ authenticate, callLog, delivery: deliverySpec, inbox, timers, log });
  const paths = { ...routes.webSockets, "/": openim, "/msg_gateway": openim };
  const webSockets = createWebSockets({ routes: paths, timers, log });
  const listener = createListener({
    accept: routes.accept,
    onUpgrade: webSockets.upgrade,
    log,
    tls: options.certificates && toTls(config, options.certificates),
    trustedProxies: config.trustedProxies ?? [],
    createHttp2: config.http2 === "node" ? createNodeHttp2 : createEngine,
    maxConnections: Math.floor(maxConnections / processes),
    maxUndecidedSockets: Math.floor(maxUndecidedSockets / processes),
    maxHandshakes: Math.floor(maxHandshakes / processes),
  });
  metrics.watch("mustreach_workers", "Processes that answer on the port now.", () => 1);
  metrics.watch("mustreach_connections", "Connections to the port now.", () => listener.counts().connections);
  const refused = () => listener.counts().refused;
  metrics.count("mustreach_connections_refused_total", "Connections refused by a limit of the port.", refused);

  return {
    health,
    metrics,
    mint,
    listen: () => listener.listen(options.at),
    async reload(secrets, logLevel) {
      log.level = logLevel;
      credentials.renew(secrets);
    },
    renewTls: async (certificates) => listener.renewTls(certificates),
    renew: async () => {},
    replaced: () => noneReplaced,
    closePort: listener.closePort,
    async drain(lingerMs) {
      closing.abort(shutdownReason);
      hub.drain();
      webSockets.drain();
      const deadline = setTimeout(() => shutdown.abort(shutdownReason), config.drainTimeout * 0.8);
      await listener.drain(config.drainTimeout, lingerMs).finally(() => clearTimeout(deadline));
      callLog.close();
    },
  };
}

/** Gives devices the time to get and to acknowledge what was stored for them, if they do. */
async function settled({ backlog }: Pick<Hub, "backlog">): Promise<void> {
  const deadline = deadlineIn(settleMs.most);
  await delay(settleMs.least);
  while (backlog() > 0 && leftUntil(deadline) > 0) await delay(settleMs.least);
}

function toTls({ tlsMinVersion: minVersion, tlsClientAuth: clientAuth }: Config, material: TlsMaterial): TlsOptions {
  return { material, minVersion, clientAuth };
}

function toJwks({ jwksUrl: url, jwtIssuer: issuer, jwtAudience: audience, jwtUserClaim, jwtAdminClaim }: Config) {
  if (url === undefined || audience === undefined) return undefined;
  return { url, issuer, audience, userClaim: jwtUserClaim, adminClaim: jwtAdminClaim };
}
