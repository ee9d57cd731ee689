import { toBinary } from "@bufbuild/protobuf";
import type { BaseLogger } from "pino";
import { type Addressing, devicesHeader, writeAddressing } from "../addressing.ts";
import type { Broker } from "../broker/connect.ts";
import { type Consumption, consume, type Delivery } from "../broker/consumers/consume.ts";
import type { ConsumerSpec } from "../broker/consumers/declare.ts";
import { toRefusal } from "../broker/faults.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { findSurely } from "../broker/reads/leader.ts";
import { type Clock, systemClock } from "../clock.ts";
import { decodeStored } from "../decode-stored.ts";
import { type Notification, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { decodeNotification, expiresHeader, readItemHeaders, reportHeader, userHeader } from "../inbox/items.ts";
import { inboxStream } from "../inbox/layout.ts";
import type { Publisher } from "../publishing/publish.ts";
import {
  escalateConsumer,
  escalationStream,
  escalationSubject,
  parsePlace,
  retryConsumer,
  retrySubject,
} from "./layout.ts";

/** A notification that has not reached one of its recipients in time. */
export interface Escalation {
  /** Stable over all attempts, instances and replays. */
  readonly id: string;
  /** Its place in the inboxes. */
  readonly partition: number;
  readonly sequence: number;
  /** When it was stored there, in epoch milliseconds. */
  readonly storedAtMs: number;
  /** The recipient. */
  readonly userId: string;
  /** As the recipient would have got it. */
  readonly notification: Notification;
  /** When it is no longer worth delivering, in epoch milliseconds; undefined: when the retention ends. */
  readonly expiresAtMs: number | undefined;
  /** Which devices it is for; undefined: all. */
  readonly devices?: Addressing | undefined;
  /** Whether what becomes of it is reported. */
  readonly isReported: boolean;
}

/** An attempt to hand an escalation to the webhook. It is held until the first ack, nak or retry. */
export interface EscalationAttempt extends Escalation, Pick<Delivery, "ack" | "nak"> {
  /** From 1. */
  readonly attempt: number;
  /** The webhook has not taken it: another attempt is to be made in `delayMs` milliseconds. Never rejects. */
  retry(delayMs: number): Promise<void>;
}

/** A notification in an inbox that is to be escalated. */
export type Unreached = Omit<Escalation, "id" | "notification" | "isReported">;

/** The notifications that wait for the webhook. */
export interface Escalations {
  /**
   * Reads a notification's body and puts it into the queue, once: what waits there already is left as it is. `gone`
   * when the inbox no longer has it.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when the queue is full.
   */
  escalate(unreached: Unreached): Promise<"queued" | "gone">;
  /** Puts an escalation into the queue again. Throws as {@link escalate}. */
  requeue(escalation: Escalation): Promise<void>;
  /**
   * Whether the notification was withdrawn from the inbox, before its time there was over.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  isWithdrawn(escalation: Escalation): Promise<boolean>;
  /** Takes part in the durable consumer `escalate` of first attempts, with at most `maxHeld` here at a time. */
  consume(maxHeld: number, onAttempt: (attempt: EscalationAttempt) => void): Promise<Consumption>;
  /** Takes part in the durable consumer `retry` of further attempts, with at most `maxHeld` here at a time. */
  consumeRetries(maxHeld: number, onAttempt: (attempt: EscalationAttempt) => void): Promise<Consumption>;
}

export interface EscalationOptions {
  /** How long notifications are kept in the inboxes, in milliseconds. */
  readonly retentionMs: number;
  /** How long an attempt may take before another instance makes one, in milliseconds. Default 60,000. */
  readonly ackWaitMs?: number;
  /** Default: the system's. */
  readonly clock?: Clock;
  readonly log: BaseLogger;
}

/** How many attempts were made. */
export const attemptsHeader = "Mustreach-Attempts";
const retryAtHeader = "Mustreach-Retry-At";
const storedHeader = "Mustreach-Stored";

export function createEscalations(
  broker: Broker,
  publisher: Publisher,
  get: DirectGet,
  { retentionMs, ackWaitMs, clock = systemClock, log }: EscalationOptions,
): Escalations {
  /**
   * A user's notification in an inbox, as it is stored; undefined when it is no longer there. In a store that was replaced,
   * its place may be that of something else, of anybody.
   */
  const find = async ({ partition, sequence, userId }: Pick<Unreached, "partition" | "sequence" | "userId">) => {
    const stream = inboxStream(partition);
    const message = await findSurely(broker, get, stream, { sequence });
    if (message === undefined) return undefined;
    const facts = readItemHeaders(message);
    return facts.userId === userId && facts.kind === "notification" ? message : undefined;
  };

  const isQueued = async (subject: string) => (await get.last(escalationStream, subject)) !== undefined;

  const store = async (
    subject: string,
    escalation: Escalation,
    headers: Readonly<Record<string, string>>,
  ): Promise<void> => {
    const stored = await publisher.store(escalationStream, {
      subject,
      payload: toBinary(NotificationSchema, escalation.notification),
      headers: { ...escalationHeaders(escalation), ...headers },
    });
    if (stored.kind === "stored" || (await isQueued(subject))) return;
    throw toRefusal(stored);
  };

  const pull = (spec: ConsumerSpec, maxHeld: number, onDelivery: (delivery: Delivery) => void) =>
    consume(broker, { ...spec, ackWaitMs, maxHeld, onDelivery, log });

  return {
    async escalate(unreached) {
      const { partition, sequence } = unreached;
      const found = await find(unreached);
      if (found === undefined) return "gone";
      const notification = decodeNotification(found);
      notification.sequence = BigInt(sequence);
      const id = escalationId(notification, partition);
      // Should the acknowledgement in `reach` be lost, the notification comes again when its attempts may be over.
      const isReported = readItemHeaders(found).report !== undefined;
      const escalation = { ...unreached, notification, id, isReported };
      await store(escalationSubject(partition, sequence), escalation, { "Nats-Msg-Id": id });
      return "queued";
    },

    requeue: (escalation) => store(escalationSubject(escalation.partition, escalation.sequence), escalation, {}),

    async isWithdrawn(escalation) {
      if (escalation.storedAtMs + retentionMs <= clock.now()) return false;
      return (await find(escalation)) === undefined;
    },

    consume: (maxHeld, onAttempt) =>
      pull(escalateConsumer, maxHeld, (delivery) => {
        const { count, ack, nak } = delivery;
        const escalation = readEscalation(delivery);
        const retry = async (delayMs: number) => {
          const headers = { [attemptsHeader]: String(count), [retryAtHeader]: String(Date.now() + delayMs) };
          try {
            await store(retrySubject(escalation.partition, escalation.sequence), escalation, headers);
            ack();
          } catch (err) {
            log.warn({ err, escalationID: escalation.id }, "cannot put an escalation among the retries");
            nak(delayMs);
          }
        };
        onAttempt({ ...escalation, attempt: count, ack, nak, retry });
      }),

    // A consumer of their own: the broker delivers what comes again before what is new, so that many retries would
    // keep first attempts waiting.
    consumeRetries: (maxHeld, onAttempt) =>
      pull(retryConsumer, maxHeld, (delivery) => {
        const { count, ack, nak } = delivery;
        // The first delivery is that of the pause.
        if (count === 1) return nak(Number(delivery.header(retryAtHeader)) - Date.now());
        const attempt = Number(delivery.header(attemptsHeader)) + count - 1;
        onAttempt({ ...readEscalation(delivery), attempt, ack, nak, retry: async (delayMs) => nak(delayMs) });
      }),
  };
}

/** The headers of a stored escalation. */
export function escalationHeaders(escalation: Escalation): Record<string, string> {
  const { userId, storedAtMs, expiresAtMs, devices, isReported } = escalation;
  return {
    [userHeader]: encodeURIComponent(userId),
    [storedHeader]: String(storedAtMs),
    ...(expiresAtMs === undefined ? {} : { [expiresHeader]: String(expiresAtMs) }),
    ...(devices === undefined ? {} : { [devicesHeader]: writeAddressing(devices) }),
    ...(isReported ? { [reportHeader]: "1" } : {}),
  };
}

/** Reads a stored escalation, waiting or dead. */
export function readEscalation(stored: Pick<Delivery, "subject" | "payload" | "header">): Escalation {
  const notification = decodeStored(NotificationSchema, stored.payload);
  const { partition, sequence } = parsePlace(stored.subject);
  const { userId, expiresAtMs, devices, report } = readItemHeaders(stored);
  const storedAtMs = Number(stored.header(storedHeader));
  const id = escalationId(notification, partition);
  const isReported = report !== undefined;
  return { id, partition, sequence, storedAtMs, userId, notification, expiresAtMs, devices, isReported };
}

// A group's notification has one serverMsgID in all inboxes, and sequences of different partitions are alike.
function escalationId({ serverMsgId, sequence }: Notification, partition: number): string {
  return `${serverMsgId}-${partition}-${sequence}`;
}
