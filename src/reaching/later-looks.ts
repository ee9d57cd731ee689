import { randomUUID } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import type { BaseLogger } from "pino";
import { readAddressing, writeAddressing } from "../addressing.ts";
import type { Broker } from "../broker/connect.ts";
import { type Consumption, consume, type Delivery } from "../broker/consumers/consume.ts";
import { toToken } from "../broker/subjects.ts";
import { type Clock, systemClock } from "../clock.ts";
import { decodeStored } from "../decode-stored.ts";
import { type LookJob_Entry, LookJob_EntrySchema, LookJobSchema } from "../gen/mustreach/store/v1/look_pb.ts";
import type { Publisher } from "../publishing/publish.ts";
import { storeLater } from "../publishing/store-later.ts";
import type { ReachEntry } from "./entry.ts";
import { laterStream, laterSubject, lookConsumer, lookSubject } from "./layout.ts";

/** Entries whose next look is far away. The broker keeps them until then (ADR-51), and `reach` need not hold them. */
export interface LaterLooks {
  /**
   * Keeps entries until a moment, as one job. Kept twice, they are looked at twice.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when it has no
   * space.
   */
  add(entries: readonly ReachEntry[], atMs: number): Promise<void>;
  /** Takes part in the durable consumer `look`, which delivers the entries when it is time. */
  consume(onEntry: (entry: ReachEntry) => void): Promise<Consumption>;
}

export interface LaterLookOptions {
  /** How long an instance may hold a job before another gets it, in milliseconds. Default 60,000. */
  readonly ackWaitMs?: number;
  /** Default: the system's. */
  readonly clock?: Clock;
  readonly log: BaseLogger;
}

/** Jobs that an instance holds at a time; each has what is due in one look, at most. */
const maxHeld = 8;

/** Pause before a job is done again of which a part could not be kept, in milliseconds. */
const retryMs = 2_000;

export function createLaterLooks(
  broker: Broker,
  publisher: Publisher,
  { ackWaitMs, clock = systemClock, log }: LaterLookOptions,
): LaterLooks {
  const add = async (entries: readonly ReachEntry[], atMs: number): Promise<void> => {
    const id = randomUUID();
    const payload = toBinary(LookJobSchema, create(LookJobSchema, { entries: entries.map(encodeEntry) }));
    const [subject, target] = [laterSubject(id), lookSubject(id)];
    await storeLater(publisher, clock, laterStream, { subject, target, payload, atMs });
  };

  /** Gives out the entries of a job, which is done when all of them are. */
  const open = ({ payload, ack, nak }: Delivery, onEntry: (entry: ReachEntry) => void): void => {
    const { entries } = decodeStored(LookJobSchema, payload);
    const again: ReachEntry[] = [];
    let againInMs = Number.POSITIVE_INFINITY;
    let held = entries.length;
    const finish = () => {
      if (again.length === 0) return ack();
      add(again, clock.now() + againInMs).then(ack, (err: unknown) => {
        log.warn({ err }, "cannot keep notifications for a later look; their job is done again");
        nak(retryMs);
      });
    };
    for (const stored of entries) {
      let isHeld = true;
      const settle = (delayMs?: number) => {
        if (!isHeld) return;
        isHeld = false;
        if (delayMs !== undefined) {
          again.push(entry);
          againInMs = Math.min(againInMs, delayMs);
        }
        if (--held === 0) finish();
      };
      const entry: ReachEntry = { ...decodeEntry(stored), ack: () => settle(), nak: settle };
      onEntry(entry);
    }
  };

  return {
    add,
    consume: (onEntry) =>
      consume(broker, {
        ...lookConsumer,
        ackWaitMs,
        maxHeld,
        onDelivery: (delivery) => open(delivery, onEntry),
        log,
      }),
  };
}

function encodeEntry(entry: ReachEntry): LookJob_Entry {
  const { partition, sequence, userId, storedAtMs, expiresAtMs = 0, escalateAfterMs = 0, devices } = entry;
  return create(LookJob_EntrySchema, {
    partition,
    sequence: BigInt(sequence),
    userId,
    storedAtMs: BigInt(storedAtMs),
    expiresAtMs: BigInt(expiresAtMs),
    escalateAfterMs: BigInt(escalateAfterMs),
    devices: devices === undefined ? "" : writeAddressing(devices),
  });
}

function decodeEntry(stored: LookJob_Entry): Omit<ReachEntry, "ack" | "nak"> {
  const { partition, sequence, userId, storedAtMs, expiresAtMs, escalateAfterMs } = stored;
  return {
    partition,
    sequence: Number(sequence),
    userId,
    userToken: toToken(userId),
    kind: "notification",
    storedAtMs: Number(storedAtMs),
    expiresAtMs: Number(expiresAtMs) || undefined,
    escalateAfterMs: Number(escalateAfterMs) || undefined,
    devices: readAddressing(stored.devices),
    notifications: 1,
  };
}
