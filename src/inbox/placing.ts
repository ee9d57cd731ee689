import type { Broker } from "../broker/connect.ts";
import { toRefusal } from "../broker/faults.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { findSurely } from "../broker/reads/leader.ts";
import type { Write } from "../broker/write.ts";
import { failure } from "../errors.ts";
import type { Notification } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Publisher } from "../publishing/publish.ts";
import type { Epochs } from "./epochs.ts";
import { encodeItem, isTombstone, itemHeaders, type WriteOptions } from "./items.ts";
import { inboxSubject, locateInbox, toDay } from "./layout.ts";
import { drawRandom, type NotificationIds, placeToken, toPlaceIds } from "./place-id.ts";

/** The write of a notification whose ids are its place. */
export interface Placement {
  readonly stream: string;
  readonly write: Write;
  /** To be called with the sequence that it was given, for the ids. */
  wrote(sequence: number): NotificationIds;
  /**
   * Stores it, if nobody else has. Idempotent.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when it has no
   * space.
   */
  store(): Promise<NotificationIds>;
}

/** Lays a notification of this moment out that has no ids: they are where it will be stored. */
export type Placing = (userId: string, notification: Notification, options: WriteOptions) => Placement;

export function createPlacing(
  broker: Broker,
  publisher: Pick<Publisher, "store">,
  get: DirectGet,
  partitions: number,
  epochs: Epochs,
): Placing {
  return (userId, notification, options) => {
    const { user, partition, stream } = locateInbox(userId, partitions);
    const random = drawRandom();
    const subject = inboxSubject(partition, user, toDay(Number(notification.sendTime)), placeToken(random));
    const item = { kind: "notification", notification } as const;
    const write = { subject, payload: encodeItem(item), headers: itemHeaders(userId, item, options) };
    const before = epochs.beforeWrite(partition);
    const wrote = (sequence: number) => {
      epochs.wrote(partition, before, sequence);
      return toPlaceIds({ partition, sequence, random });
    };
    return {
      stream,
      write,
      wrote,
      async store() {
        const stored = await publisher.store(stream, write);
        if (stored.kind === "stored") return wrote(stored.sequence);
        // Nobody else has drawn the same: it is what an earlier try has stored.
        const found = await findSurely(broker, get, stream, { last: subject });
        // The subject is free, so the refusal was about space.
        if (found === undefined) throw toRefusal(stored);
        // Who got it by then has recalled it, and its sequence is not known here.
        if (isTombstone(found)) throw failure("NetworkError", "the broker did not answer in time");
        return toPlaceIds({ partition, sequence: found.sequence, random });
      },
    };
  };
}
