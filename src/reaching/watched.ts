import { AckPolicy, DeliverPolicy, ReplayPolicy } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import type { BaseLogger } from "pino";
import type { Broker } from "../broker/connect.ts";
import { type Delivery, startPull } from "../broker/pull.ts";
import { escalateHeader, expiresHeader, kindHeader, userHeader } from "../inbox/items.ts";
import { inboxPartitionFilter, inboxStream, parseInboxSubject } from "../inbox/layout.ts";
import type { ReachEntry } from "./entry.ts";
import type { LaterLooks } from "./later-looks.ts";

/** Options of {@link consumeReach}. */
export interface ReachConsumerOptions {
  readonly partitions: number;
  /**
   * How long an instance may hold an entry before another gets it, in milliseconds: longer than the wake delay.
   * Default 60,000.
   */
  readonly ackWaitMs?: number;
  /**
   * Entries of one partition that may be held or nak'ed at a time, over all instances; beyond it, `reach` gets no
   * newer ones. Default 50,000, which cost the broker nothing measurable while they wait.
   */
  readonly maxAckPending?: number;
  /** Entries of one partition that this instance holds at a time. Default 512. */
  readonly maxHeld?: number;
  /** Delivers what was kept for a later look as well. */
  readonly laterLooks: Pick<LaterLooks, "consume">;
  readonly onEntry: (entry: ReachEntry) => void;
  readonly log: BaseLogger;
}

/** The durable consumers `reach` of all partitions, and `look`, as far as this instance takes part in them. */
export interface ReachConsumers {
  /** Takes no more entries. What is held can still be acked. */
  pause(): Promise<void>;
  /** Pauses, and gives back what is still held. */
  stop(): Promise<void>;
}

/**
 * Binds the durable consumer `reach` of each inbox stream, created on first use, and that of later looks. Instances
 * share the entries.
 *
 * @throws when the broker refuses a consumer or does not answer.
 */
export async function consumeReach(broker: Broker, options: ReachConsumerOptions): Promise<ReachConsumers> {
  const { partitions, laterLooks, onEntry, log } = options;
  const { ackWaitMs = 60_000, maxAckPending = 50_000, maxHeld = 512 } = options;
  const pulls = await Promise.all([
    laterLooks.consume(onEntry),
    ...Array.from({ length: partitions }, (_, partition) =>
      startPull(broker, {
        stream: inboxStream(partition),
        consumer: {
          durable_name: "reach",
          description: "holds each must-reach notification until a device has acknowledged it",
          filter_subject: inboxPartitionFilter(partition),
          deliver_policy: DeliverPolicy.All,
          replay_policy: ReplayPolicy.Instant,
          ack_policy: AckPolicy.Explicit,
          ack_wait: nanos(ackWaitMs),
          max_ack_pending: maxAckPending,
          max_deliver: -1,
          headers_only: true,
        },
        maxHeld,
        onDelivery: (delivery) => onEntry(toReachEntry(partition, delivery)),
        log,
      }),
    ),
  ]);
  return {
    pause: async () => void (await Promise.all(pulls.map((pull) => pull.pause()))),
    stop: async () => void (await Promise.all(pulls.map((pull) => pull.stop()))),
  };
}

function toReachEntry(partition: number, delivery: Delivery): ReachEntry {
  const userToken = parseInboxSubject(delivery.subject);
  const user = delivery.header(userHeader);
  if (user === "") throw new TypeError("an inbox entry without its user");
  const { sequence, storedAtMs, ack, nak } = delivery;
  return {
    sequence,
    storedAtMs,
    ack,
    nak,
    partition,
    userToken,
    userId: decodeURIComponent(user),
    kind: delivery.header(kindHeader) || "notification",
    expiresAtMs: toNumber(delivery.header(expiresHeader)),
    escalateAfterMs: toNumber(delivery.header(escalateHeader)),
  };
}

function toNumber(header: string): number | undefined {
  return header === "" ? undefined : Number(header);
}
