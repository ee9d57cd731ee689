import type { Message } from "@bufbuild/protobuf";
import type {
  Gap,
  Heartbeat,
  Notification,
  Ready,
  Recall,
  Reconnect,
  Settled,
  Message as WireMessage,
} from "../../gen/mustreach/delivery/v1/delivery_pb.ts";

/** What a message says, without protobuf's runtime: that of the runtime is one, too. */
export type Plain<T> = Omit<T, keyof Message>;

/** A chat copy. */
export type PlainMessage = Omit<Plain<WireMessage>, "notification"> & {
  readonly notification?: Plain<Notification> | undefined;
};

/** A gap. */
export type PlainGap = Omit<Plain<Gap>, "reason"> & { readonly reason: number };

/** What a session tells: that of mustreach.delivery.v1.SubscribeResponse. */
export type SessionEvent =
  | { readonly case: "ready"; readonly value: Plain<Ready> }
  | { readonly case: "notification"; readonly value: Plain<Notification> }
  | { readonly case: "message"; readonly value: PlainMessage }
  | { readonly case: "heartbeat"; readonly value: Plain<Heartbeat> }
  | { readonly case: "gap"; readonly value: PlainGap }
  | { readonly case: "reconnect"; readonly value: Pick<Reconnect, "afterMs"> }
  | { readonly case: "recall"; readonly value: Plain<Recall> }
  | { readonly case: "settled"; readonly value: Plain<Settled> }
  /** A sign of life, or an event that this version does not know. */
  | { readonly case: undefined; readonly value?: undefined };

/** An event of a session, as it comes. */
export interface Received {
  readonly event: SessionEvent;
}

/** How many characters of payload an event has. */
export function charsOf({ event }: Received): number {
  if (event.case === "notification") return event.value.data.length;
  return event.case === "message" ? (event.value.notification?.data.length ?? 0) : 0;
}
