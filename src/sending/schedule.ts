import { create, toBinary } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import type { Broker } from "../broker/connect.ts";
import { work } from "../broker/consumers/work.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { toToken } from "../broker/subjects.ts";
import { remove } from "../broker/write.ts";
import { type Clock, systemClock } from "../clock.ts";
import { decodeStored } from "../decode-stored.ts";
import { failure } from "../errors.ts";
import { NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { ScheduledSendSchema } from "../gen/mustreach/store/v1/job_pb.ts";
import type { Publisher } from "../publishing/publish.ts";
import { storeLater } from "../publishing/store-later.ts";
import type { Recalls } from "../recalling/findings.ts";
import { type DeliverDeps, type Delivery, deliver } from "./deliver.ts";
import { dueJobs, dueSubject, scheduleStream, scheduleSubject } from "./layout.ts";
import { decodeSend, encodeSend, type Sends } from "./record.ts";
import { type SyncSenderDeps, syncSender } from "./sender-sync.ts";

/** The sends that wait for their time, kept by the broker (ADR-51). */
export interface Schedule {
  /**
   * Keeps a send until its `deliverAtMs`, once.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when it has no
   * space.
   */
  add(send: Delivery): Promise<void>;
  /** Drops a send that waits; false when it does not, or its time has come. */
  cancel(serverMsgId: string): Promise<boolean>;
  /** Handles what is due, together with the other instances. Resolves to how to stop. */
  work(onDue: (send: Delivery) => Promise<void>): Promise<() => Promise<void>>;
}

export function createSchedule(
  broker: Broker,
  publisher: Publisher,
  get: DirectGet,
  log: Logger,
  clock: Clock = systemClock,
): Schedule {
  const find = async (subject: string) => (await get.last(scheduleStream, subject))?.sequence;

  return {
    async add(send) {
      const { serverMsgId, deliverAtMs: atMs } = send.record;
      const token = toToken(serverMsgId);
      const [subject, target] = [scheduleSubject(token), dueSubject(token)];
      await storeLater(publisher, clock, scheduleStream, { subject, target, payload: encodeScheduledSend(send), atMs });
    },
    async cancel(serverMsgId) {
      const sequence = await find(scheduleSubject(toToken(serverMsgId)));
      // False as well when it has become due in the meantime.
      return sequence !== undefined && remove(broker, scheduleStream, sequence);
    },
    work: (onDue) =>
      work(broker, {
        ...dueJobs,
        decode: decodeScheduledSend,
        work: onDue,
        log,
      }),
  };
}

export interface DeliverDueDeps extends DeliverDeps, SyncSenderDeps {
  readonly sends: Pick<Sends, "claim">;
  readonly recalls: Pick<Recalls, "recalledAt">;
}

/** Delivers a scheduled send whose time has come, unless it was recalled meanwhile. */
export async function deliverDue(deps: DeliverDueDeps, due: Delivery): Promise<void> {
  const { record, notification } = due;
  if ((await deps.recalls.recalledAt(record.serverMsgId)) !== undefined) return;
  // The record was kept from when the send was accepted, and may be gone by now.
  await deps.sends.claim(record);
  await deliver(deps, due);
  syncSender(deps, notification);
}

/** The stored form of a send that waits. */
export function encodeScheduledSend({ record, notification, escalateAfterMs = 0, ...send }: Delivery): Uint8Array {
  return toBinary(
    ScheduledSendSchema,
    create(ScheduledSendSchema, {
      ...send,
      record: encodeSend(record),
      notification: toBinary(NotificationSchema, notification),
      escalateAfterMs: BigInt(escalateAfterMs),
    }),
  );
}

/**
 * Reads the stored form of a send that waits.
 *
 * @throws ServerInternalError (500) for bytes that are none.
 */
export function decodeScheduledSend(payload: Uint8Array): Delivery {
  const { record, notification, sendMsg, escalateAfterMs, operationId } = decodeStored(ScheduledSendSchema, payload);
  if (record === undefined)
    throw failure("ServerInternalError", "what is stored is a scheduled send without its record");
  return {
    record: decodeSend(record),
    notification: decodeStored(NotificationSchema, notification),
    sendMsg,
    escalateAfterMs: Number(escalateAfterMs) || undefined,
    operationId,
  };
}
