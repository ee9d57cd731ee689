import { create, toBinary } from "@bufbuild/protobuf";
import { JetStreamApiError } from "@nats-io/jetstream";
import type { Logger } from "pino";
import type { Broker } from "../broker/connect.ts";
import { decodeStored } from "../broker/decode-stored.ts";
import { type DirectGet, tooManyResults } from "../broker/direct-get.ts";
import { toFailure, toRefusal } from "../broker/faults.ts";
import type { Publisher } from "../broker/publish.ts";
import { toToken } from "../broker/subjects.ts";
import { work } from "../broker/work.ts";
import { failure } from "../errors.ts";
import { type Notification, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { ScheduledSendSchema } from "../gen/mustreach/store/v1/job_pb.ts";
import { dueFilter, dueSubject, scheduleStream, scheduleSubject } from "./layout.ts";
import { decodeSend, encodeSend, type SendRecord } from "./record.ts";

/** A send that waits for its time. */
export interface ScheduledSend {
  /** Its `deliverAtMs` is the time. */
  readonly record: SendRecord;
  readonly notification: Notification;
  /** Whether a chat copy is stored as well. */
  readonly sendMsg: boolean;
  readonly escalateAfterMs: number | undefined;
  readonly operationId: string;
}

/** The sends that wait for their time, kept by the broker (ADR-51). */
export interface Schedule {
  /**
   * Keeps a send until its time, once.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when it has no
   * space.
   */
  add(send: ScheduledSend): Promise<void>;
  /** Drops a send that waits; false when it does not, or its time has come. */
  cancel(serverMsgId: string): Promise<boolean>;
  /** Handles what is due, together with the other instances. Resolves to how to stop. */
  work(deliver: (send: ScheduledSend) => Promise<void>): Promise<() => Promise<void>>;
}

/** Creates the schedule over its stream. */
export function createSchedule(broker: Broker, publisher: Publisher, get: DirectGet, log: Logger): Schedule {
  const find = async (subject: string): Promise<number | undefined> => {
    const found = await get(scheduleStream, { last_by_subj: subject });
    return found === tooManyResults ? undefined : found.messages[0]?.sequence;
  };

  return {
    async add(send) {
      const token = toToken(send.record.serverMsgId);
      const subject = scheduleSubject(token);
      const headers = {
        "Nats-Schedule": `@at ${new Date(send.record.deliverAtMs).toISOString()}`,
        "Nats-Schedule-Target": dueSubject(token),
      };
      const stored = await publisher.store(scheduleStream, { subject, payload: encodeScheduledSend(send), headers });
      if (stored.kind === "stored") return;
      throw toRefusal(stored);
    },
    async cancel(serverMsgId) {
      const sequence = await find(scheduleSubject(toToken(serverMsgId)));
      if (sequence === undefined) return false;
      try {
        return await broker.jsm.streams.deleteMessage(scheduleStream, sequence, true);
      } catch (cause) {
        // It has become due in the meantime.
        if (cause instanceof JetStreamApiError) return false;
        throw toFailure(cause);
      }
    },
    work: (deliver) =>
      work(broker, {
        stream: scheduleStream,
        durable: "due",
        filter: dueFilter,
        decode: decodeScheduledSend,
        work: deliver,
        log,
      }),
  };
}

/** The stored form of a send that waits. */
export function encodeScheduledSend({ record, notification, escalateAfterMs = 0, ...send }: ScheduledSend): Uint8Array {
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
export function decodeScheduledSend(payload: Uint8Array): ScheduledSend {
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
