import { randomUUID } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import type { BaseLogger } from "pino";
import { type Addressing, readAddressing, writeAddressing } from "../addressing.ts";
import type { Broker } from "../broker/connect.ts";
import { consume } from "../broker/consumers/consume.ts";
import { type Clock, systemClock } from "../clock.ts";
import { decodeStored } from "../decode-stored.ts";
import { type ReportJob_Entry, ReportJob_EntrySchema, ReportJobSchema } from "../gen/mustreach/store/v1/report_pb.ts";
import type { Publisher } from "../publishing/publish.ts";
import { storeLater } from "../publishing/store-later.ts";
import { laterSubject, lookSubject, reportJobStream, reportLookConsumer } from "./layout.ts";
import type { ReportedNotification } from "./reports.ts";

/** A notification in an inbox whose end is not known yet. */
export interface Outstanding {
  readonly userId: string;
  /** Its place in the inboxes of the user's partition. */
  readonly sequence: number;
  /** Epoch milliseconds, as the next. */
  readonly storedAtMs: number;
  /** Undefined: when the retention ends. */
  readonly expiresAtMs: number | undefined;
  /** Which devices it is for; undefined: all. */
  readonly devices?: Addressing | undefined;
  readonly notification: ReportedNotification;
}

/** Notifications that wait for the next look. The broker keeps them until then (ADR-51). */
export interface ReportLooks {
  /**
   * Keeps notifications until a moment. Kept twice, they are looked at twice.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when it has no
   * space.
   */
  add(outstanding: readonly Outstanding[], atMs: number): Promise<void>;
  /** Takes part in the durable consumer `report_look`. What `look` throws has it called again. Resolves to how to stop. */
  consume(look: (outstanding: readonly Outstanding[]) => Promise<void>): Promise<() => Promise<void>>;
}

/** Jobs that an instance holds at a time. */
const maxHeld = 8;

/** Notifications of a job: with the longest ids and keys it is below 1 MiB. */
const maxEntries = 200;

/** Pause before a job is done again, in milliseconds. */
const retryMs = 2_000;

export function createReportLooks(
  broker: Broker,
  publisher: Publisher,
  log: BaseLogger,
  clock: Clock = systemClock,
): ReportLooks {
  const addJob = async (entries: readonly Outstanding[], atMs: number): Promise<void> => {
    const id = randomUUID();
    const payload = toBinary(ReportJobSchema, create(ReportJobSchema, { entries: entries.map(encodeEntry) }));
    const [subject, target] = [laterSubject(id), lookSubject(id)];
    await storeLater(publisher, clock, reportJobStream, { subject, target, payload, atMs });
  };

  return {
    async add(outstanding, atMs) {
      for (let start = 0; start < outstanding.length; start += maxEntries) {
        await addJob(outstanding.slice(start, start + maxEntries), atMs);
      }
    },
    async consume(look) {
      const underWay = new Set<Promise<void>>();
      const jobs = await consume(broker, {
        ...reportLookConsumer,
        maxHeld,
        onDelivery({ payload, ack, nak }) {
          const { entries } = decodeStored(ReportJobSchema, payload);
          const done = look(entries.map(decodeEntry))
            .then(ack, (err: unknown) => {
              log.warn({ err }, "cannot find out now what has become of notifications; trying again");
              nak(retryMs);
            })
            .finally(() => underWay.delete(done));
          underWay.add(done);
        },
        log,
      });
      return async () => {
        await jobs.pause();
        await Promise.all(underWay);
        await jobs.stop();
      };
    },
  };
}

function encodeEntry({ notification, expiresAtMs = 0, ...entry }: Outstanding): ReportJob_Entry {
  return create(ReportJob_EntrySchema, {
    ...notification,
    sendTimeMs: BigInt(notification.sendTimeMs),
    userId: entry.userId,
    sequence: BigInt(entry.sequence),
    storedAtMs: BigInt(entry.storedAtMs),
    expiresAtMs: BigInt(expiresAtMs),
    devices: entry.devices === undefined ? "" : writeAddressing(entry.devices),
  });
}

function decodeEntry(entry: ReportJob_Entry): Outstanding {
  const { serverMsgId, clientMsgId, key, userId } = entry;
  return {
    userId,
    sequence: Number(entry.sequence),
    storedAtMs: Number(entry.storedAtMs),
    expiresAtMs: Number(entry.expiresAtMs) || undefined,
    devices: readAddressing(entry.devices),
    notification: { serverMsgId, clientMsgId, key, sendTimeMs: Number(entry.sendTimeMs) },
  };
}
