import type { Notification } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Fanout } from "../nats/fanout.ts";
import type { Inbox } from "../nats/inbox.ts";
import type { SendRecord } from "../nats/sends.ts";

/** A must-reach notification on its way to its recipients. */
export interface Delivery {
  readonly record: SendRecord;
  readonly notification: Notification;
  readonly escalateAfterMs: number | undefined;
  readonly operationId: string;
}

/** Stores a must-reach notification for its recipients; {@link createDeliver} makes it. */
export type Deliver = (delivery: Delivery) => Promise<void>;

/**
 * Creates the delivery: into the inbox of a user, or into the queue from which the members of a group get it. Doing it
 * again changes nothing.
 *
 * Throws NetworkError (90004) when the broker did not acknowledge in time.
 */
export function createDeliver(inbox: Pick<Inbox, "write">, fanout: Pick<Fanout, "publish">): Deliver {
  return async ({ record, notification, escalateAfterMs, operationId }) => {
    const options = { expiresAtMs: record.expiresAtMs || undefined, escalateAfterMs, operationId };
    if (record.recvGroupId === "") {
      await inbox.write(record.recvUserId, { kind: "notification", notification }, options);
    } else {
      await fanout.publish({ notification, groupVersion: record.groupVersion, ...options });
    }
  };
}
