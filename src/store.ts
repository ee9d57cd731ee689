import type { Logger } from "pino";
import { authSpecs, revokedRepublish } from "./auth/layout.ts";
import { openRevocations } from "./auth/revocations.ts";
import { auditBroker, type BrokerAudit } from "./broker/audit.ts";
import type { Connections } from "./broker/connect.ts";
import type { ConsumerSpec } from "./broker/consumers/declare.ts";
import { jobConsumer } from "./broker/consumers/work.ts";
import { declare, type StreamSpec, streamProblems } from "./broker/declare.ts";
import { createRequireRoom } from "./broker/inspection/require-room.ts";
import type { Rights } from "./broker/inspection/rights.ts";
import { createDirectGet } from "./broker/reads/create-direct-get.ts";
import { gathered } from "./broker/reads/gather.ts";
import { brokerRights } from "./broker/subjects.ts";
import { createChat } from "./chat/chat.ts";
import { chatSpecs, chatStream } from "./chat/layout.ts";
import type { Clock } from "./clock.ts";
import { createCandidates } from "./collapsing/candidates.ts";
import { type Config, ConfigError } from "./config.ts";
import { createCursors } from "./cursors/cursors.ts";
import { cursorSpec } from "./cursors/layout.ts";
import { createGroups } from "./groups/groups.ts";
import { groupsSpecs, groupsStream } from "./groups/layout.ts";
import { createEpochs } from "./inbox/epochs.ts";
import { createInbox } from "./inbox/inbox.ts";
import { inboxSpecs } from "./inbox/layout.ts";
import { maxOverheadBytes } from "./limits.ts";
import { groupPushSubject, liveAnswerFilter, liveFilter, liveSpecs, sessionSpec } from "./live/layout.ts";
import { createFindPlatforms } from "./live/presence.ts";
import { createOpenSession } from "./live/session-order.ts";
import { createLive } from "./live/signals.ts";
import { bringForward } from "./publishing/bring-forward.ts";
import { storeInOrder, type Unit } from "./publishing/in-order.ts";
import { createPublisher } from "./publishing/publish.ts";
import { createDeadLetters } from "./reaching/dead-letters.ts";
import { createEscalations } from "./reaching/escalations.ts";
import { createLaterLooks } from "./reaching/later-looks.ts";
import {
  escalateConsumer,
  laterFilter,
  laterStream,
  lookConsumer,
  reachConsumer,
  reachingSpecs,
  retryConsumer,
} from "./reaching/layout.ts";
import { consumeReach, type ReachConsumerOptions } from "./reaching/watched.ts";
import { createRecalls } from "./recalling/findings.ts";
import { createTombstones } from "./recalling/tombstones.ts";
import { createReportDelivered } from "./reporting/delivered.ts";
import {
  reportingSpecs,
  reportJobStream,
  laterFilter as reportLaterFilter,
  reportLookConsumer,
  reportTurnJobs,
  toldFilter,
} from "./reporting/layout.ts";
import { createReportLooks } from "./reporting/looks.ts";
import { createReportPages } from "./reporting/page.ts";
import { createReports } from "./reporting/reports.ts";
import { createTold } from "./reporting/told.ts";
import { createWebhookTurn } from "./reporting/turn.ts";
import { createFanout } from "./sending/fan-out.ts";
import {
  dueJobs,
  fanoutJobs,
  fanoutStream,
  lanes,
  scheduleFilter,
  scheduleStream,
  sendingSpecs,
} from "./sending/layout.ts";
import { createFindPlaced } from "./sending/placed.ts";
import { createSends } from "./sending/record.ts";
import { createSchedule } from "./sending/schedule.ts";
import { storeBounds } from "./store-bounds.ts";
import { ticketsSpecs } from "./tickets/layout.ts";
import { createTicketUses } from "./tickets/tickets.ts";

/** Everything that Mustreach keeps in the broker, declared and ready. */
export type Store = Awaited<ReturnType<typeof openStore>>;

/** How long it is kept at least who has left a group, in milliseconds: a day. */
const minHistoryMs = 86_400_000;

/** Tokens live at most this long, in milliseconds, as far as revocations are kept: OpenIM's 90 days, and a day. */
const minRevocationTtlMs = 91 * 86_400_000;

interface StoreOptions {
  readonly log: Logger;
  readonly clock: Clock;
  /** See {@link createPublisher}. Default: nobody is told. */
  readonly onWriteAnswered?: (seconds: number) => void;
}

/** What the broker keeps until its time. */
const waiting = [
  { stream: scheduleStream, filter: scheduleFilter },
  { stream: laterStream, filter: laterFilter },
  { stream: reportJobStream, filter: reportLaterFilter },
] as const;

/**
 * Looks whether the broker can keep the promise, and declares what is kept in it.
 *
 * @throws {ConfigError} for a setting that the broker cannot serve; {@link auditBroker} and {@link declare} theirs.
 */
export async function openStore(
  connections: Connections,
  config: Config,
  { log, clock, onWriteAnswered }: StoreOptions,
) {
  const { signals: broker, reads, writes } = connections;
  const { partitions, replicas, retention: retentionMs, sendTimeout: timeoutMs } = config;
  let audit = await auditBroker(broker, replicas);
  requirePayload(audit, config);
  for (const warning of audit.warnings) log.warn(warning);
  broker.onReconnect(() => {
    auditBroker(broker, replicas).then(
      (again) => {
        audit = again;
      },
      (err: unknown) => log.error({ err }, "the broker that answers now is unfit"),
    );
  });

  const specs = storeSpecs(config);
  await declare(broker, specs, replicas, (err) =>
    log.warn({ err, replicas }, "waiting for the broker to take streams: is its cluster whole?"),
  );
  const isReplicated = replicas > 1;
  const epochs = createEpochs({ reads, writes, partitions, retentionMs, isReplicated, log });
  const publisher = createPublisher(writes, {
    sendTimeoutMs: timeoutMs,
    isFsynced: () => audit.durability === "FSYNCED",
    isReplicated,
    gate: epochs,
    ...(onWriteAnswered && { onAnswered: onWriteAnswered }),
  });
  const directGet = gathered(createDirectGet(reads, { timeoutMs }));
  const live = createLive(broker, { partitions, timeoutMs });
  const cursors = createCursors(writes, directGet, {
    maxDevicesPerUser: config.maxDevicesPerUser,
    epochs: { of: epochs, partitions },
    isReplicated,
    clock,
    log,
  });
  clock.jumps?.before(cursors.flushAll);
  clock.jumps?.after(() => bringForward({ broker, get: directGet, clock }, waiting));
  const revocations = await openRevocations(broker, directGet, { ttlMs: revocationTtlOf(config), isReplicated, log });
  const groups = createGroups(writes, directGet, {
    timeoutMs,
    // A scheduled send, and the status of any, ask for the members of that time.
    historyMs: Math.max(minHistoryMs, 2 * retentionMs),
    onMembershipChange: ({ userIds, ...signal }) => live.publishMember(userIds, signal),
  });
  const chat = createChat(writes, directGet, { timeoutMs, retentionMs: config.chatRetention });
  const fanout = createFanout(broker, publisher, directGet, log);
  const schedule = createSchedule(broker, publisher, directGet, log, clock);
  const rooms = new Map(storeBounds(config).map((bound) => [bound.stream, createRequireRoom(broker, bound)]));
  /** Does it when there is room in the stream. */
  const bounded =
    <A extends readonly unknown[], R>(stream: string, add: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      await rooms.get(stream)?.();
      return add(...args);
    };
  const laterLooks = createLaterLooks(broker, publisher, { clock, log });
  const reports = createReports(publisher, directGet, partitions, clock);
  const reportsTold = createTold(broker, timeoutMs);
  return {
    /** What the broker's configuration said when it was last connected to. */
    audit: () => audit,
    inbox: createInbox(reads, publisher, directGet, partitions, epochs, clock),
    sends: createSends(reads, publisher, directGet, partitions, createFindPlaced(reads, directGet, partitions)),
    storeInOrder: (units: readonly Unit[]) => storeInOrder(publisher, units),
    recalls: createRecalls(reads, publisher, directGet, partitions, clock),
    candidates: createCandidates(reads, publisher, directGet, { partitions, timeoutMs }),
    tombstones: createTombstones(publisher, directGet, partitions, clock),
    live,
    findPlatforms: createFindPlatforms(broker, { partitions, timeoutMs }),
    // Over the connection of the writes, so that it leaves in one system call with the next of them.
    echo: createLive(writes, { partitions, timeoutMs }).echo,
    // On the connection of the live signals: the broker knows of a subscription before it records the session.
    openSession: await createOpenSession(broker, { partitions, replicas, timeoutMs, log }),
    cursors,
    revocations,
    useTicket: createTicketUses(writes),
    // What makes room is not refused.
    groups: { ...groups, create: bounded(groupsStream, groups.create), add: bounded(groupsStream, groups.add) },
    chat: { ...chat, append: bounded(chatStream, chat.append) },
    fanout: { ...fanout, publish: bounded(fanoutStream, fanout.publish) },
    schedule: { ...schedule, add: bounded(scheduleStream, schedule.add) },
    escalations: createEscalations(broker, publisher, directGet, { retentionMs, clock, log }),
    deadLetters: createDeadLetters(broker, publisher, directGet),
    laterLooks,
    /** Takes part in the durable consumers `reach` and `look`. */
    consumeReach: (onEntry: ReachConsumerOptions["onEntry"]) =>
      consumeReach(broker, { partitions, laterLooks, onEntry, clock, log }),
    /** The names of its streams. */
    streams: specs.map(({ name }) => name),
    reports,
    reportDelivered: createReportDelivered({ reports, log }),
    reportLooks: createReportLooks(broker, publisher, log, clock),
    reportPages: createReportPages(reads, directGet),
    reportsTold,
    reportTurn: createWebhookTurn(broker, publisher, directGet, log),
    /** What of it is missing or not as declared, in sentences. */
    problems: () => streamProblems(broker, specs, replicas),
    /** Stores what is in memory. */
    async close() {
      revocations.close();
      reportsTold.close();
      epochs.close();
      await cursors.close();
      directGet.close();
    },
  };
}

/** The streams that are declared with these settings. */
export function storeSpecs(config: Config): readonly StreamSpec[] {
  const { partitions, retention: retentionMs } = config;
  // What waits for the webhook, and what it has not taken, is a small part of what is sent.
  const queueBytes = Math.max(Math.floor(config.maxStoreBytes / 10), 16 * (config.maxDataBytes + maxOverheadBytes));
  return [
    ...inboxSpecs({ partitions, retentionMs, maxStoreBytes: config.maxStoreBytes }),
    cursorSpec(retentionMs),
    ...authSpecs(revocationTtlOf(config)),
    ...ticketsSpecs,
    ...groupsSpecs,
    ...chatSpecs,
    ...sendingSpecs,
    ...liveSpecs,
    ...reachingSpecs({ retentionMs, maxStoreBytes: queueBytes }),
    ...reportingSpecs({ retentionMs, maxBytes: config.reportMaxBytes ?? queueBytes }),
  ];
}

/** The durable consumers that the jobs of an instance declare with these settings. */
export function storeConsumers(config: Config): readonly ConsumerSpec[] {
  return [
    ...Array.from({ length: config.partitions }, (_, partition) => reachConsumer(partition)),
    ...Array.from({ length: lanes }, (_, lane) => jobConsumer(fanoutJobs(lane))),
    ...[jobConsumer(dueJobs), lookConsumer, reportLookConsumer],
    ...(config.escalationUrl === undefined ? [] : [escalateConsumer, retryConsumer]),
    ...(config.reportWebhookUrl === undefined ? [] : [jobConsumer(reportTurnJobs)]),
  ];
}

/** What the broker must let our user publish to and subscribe to with these settings. */
export function storeRights(config: Config): Rights {
  const live = Array.from({ length: config.partitions }, (_, partition) => liveFilter(partition, "*"));
  live.push(liveAnswerFilter("*"), groupPushSubject("*"));
  const stored = [...storeSpecs(config), sessionSpec].flatMap(({ subjects }) => subjects);
  return {
    publish: [...brokerRights.publish, ...stored, ...live],
    subscribe: [...brokerRights.subscribe, ...live, revokedRepublish.dest, toldFilter],
  };
}

function revocationTtlOf({ tokenTtl }: Config): number {
  return Math.max(tokenTtl, minRevocationTtlMs);
}

function requirePayload({ maxPayloadBytes }: BrokerAudit, { maxDataBytes }: Config): void {
  if (maxDataBytes + maxOverheadBytes <= maxPayloadBytes) return;
  throw new ConfigError(
    `MUSTREACH_MAX_DATA_BYTES is ${maxDataBytes}, but the broker takes messages of ${maxPayloadBytes} bytes (max_payload), ` +
      `${maxOverheadBytes} of which are not data. See README.md, section Configuration.`,
  );
}
