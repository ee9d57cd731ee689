import type { BaseLogger } from "pino";
import type { Broker } from "../broker/connect.ts";
import { type Consumption, consume, type Delivery, together } from "../broker/consumers/consume.ts";
import { type Clock, systemClock } from "../clock.ts";
import { readItemHeaders } from "../inbox/items.ts";
import { parseInboxSubject } from "../inbox/layout.ts";
import { toServerMsgId } from "../inbox/place-id.ts";
import type { ReachEntry } from "./entry.ts";
import type { LaterLooks } from "./later-looks.ts";
import { reachConsumer } from "./layout.ts";

export interface ReachConsumerOptions {
  readonly partitions: number;
  /**
   * How long an instance may hold an entry before another gets it, in milliseconds: longer than the wake delay.
   * Default 60,000.
   */
  readonly ackWaitMs?: number;
  /**
   * Entries of one partition that may be held or nak'ed at a time, over all instances; beyond it, `reach` gets no
   * newer ones. Default: that of {@link reachConsumer}.
   */
  readonly maxAckPending?: number;
  /** Entries of one partition that this instance holds at a time. Default 512. */
  readonly maxHeld?: number;
  /** Delivers what was kept for a later look as well. */
  readonly laterLooks: Pick<LaterLooks, "consume">;
  readonly onEntry: (entry: ReachEntry) => void;
  /** Default: the system's. */
  readonly clock?: Clock;
  readonly log: BaseLogger;
}

/**
 * Binds the durable consumer `reach` of each inbox stream, created on first use, and that of later looks. Instances
 * share the entries.
 *
 * @throws when the broker refuses a consumer or does not answer.
 */
export async function consumeReach(broker: Broker, options: ReachConsumerOptions): Promise<Consumption> {
  const {
    partitions,
    laterLooks,
    onEntry,
    ackWaitMs,
    maxAckPending,
    maxHeld = 512,
    clock = systemClock,
    log,
  } = options;
  const parts = [
    laterLooks.consume(onEntry),
    ...Array.from({ length: partitions }, (_, partition) =>
      consume(broker, {
        ...reachConsumer(partition),
        ackWaitMs,
        ...(maxAckPending !== undefined && { maxAckPending }),
        maxHeld,
        onDelivery: (delivery) => onEntry(toReachEntry(partition, delivery, clock)),
        log,
      }),
    ),
  ];
  return together(await Promise.all(parts));
}

function toReachEntry(partition: number, delivery: Delivery, clock: Clock): ReachEntry {
  const userToken = parseInboxSubject(delivery.subject);
  const facts = readItemHeaders(delivery);
  if (facts.userId === "") throw new TypeError("an inbox entry without its user");
  const { sequence, ack, nak } = delivery;
  const storedAtMs = clock.at(delivery.storedAtMs);
  const reportId = facts.report && toServerMsgId(delivery.subject, sequence);
  return { ...facts, sequence, storedAtMs, ack, nak, partition, userToken, reportId, notifications: 1 };
}
