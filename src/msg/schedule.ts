import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Schedule } from "../nats/schedule.ts";
import type { SendRecord, Sends } from "../nats/sends.ts";
import type { Deliver, Delivery } from "./deliver.ts";
import { keyOfClientMsgId } from "./ids.ts";
import type { SyncSender } from "./sync-sender.ts";

/** Keeps a delivery under the key of its send until its time. */
export type Later = (key: string, delivery: Delivery) => Promise<void>;

interface Scheduled {
  readonly record: SendRecord;
  /** The notification, encoded, in base64. */
  readonly notification: string;
  readonly sendMsg: boolean;
  readonly escalateAfterMs?: number;
  readonly operationId: string;
}

/** Creates the {@link Later} over the broker's schedule. */
export function createLater(schedule: Pick<Schedule, "add">): Later {
  return (key, { record, notification, sendMsg, escalateAfterMs, operationId }) => {
    const scheduled: Scheduled = {
      record,
      notification: Buffer.from(toBinary(NotificationSchema, notification)).toString("base64"),
      sendMsg,
      operationId,
      ...(escalateAfterMs === undefined ? {} : { escalateAfterMs }),
    };
    return schedule.add(key, record.deliverAtMs, Buffer.from(JSON.stringify(scheduled)));
  };
}

/** Creates what is done when a scheduled send is due: it is delivered, unless it was recalled meanwhile. */
export function createDeliverDue(sends: Pick<Sends, "claim" | "recalledAt">, deliver: Deliver, syncSender: SyncSender) {
  return async (payload: Uint8Array): Promise<void> => {
    const { record, notification, sendMsg, escalateAfterMs, operationId }: Scheduled = JSON.parse(
      Buffer.from(payload).toString(),
    );
    const key = keyOfClientMsgId(record.clientMsgId);
    if ((await sends.recalledAt(key)) !== undefined) return;
    // The record was kept from when the send was accepted, and may be gone by now.
    await sends.claim(key, record);
    const due = fromBinary(NotificationSchema, Buffer.from(notification, "base64"));
    await deliver({ record, notification: due, sendMsg, escalateAfterMs, operationId });
    await syncSender(due);
  };
}
