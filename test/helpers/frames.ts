import { fromBinary } from "@bufbuild/protobuf";
import { pull } from "../../src/answers.ts";
import { SubscribeResponseSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import type { InboxEntry, InboxItem } from "../../src/inbox/items.ts";
import type { Session } from "../../src/receiving/session.ts";

/** The event in a frame. */
export function eventOf(frame: Uint8Array) {
  return fromBinary(SubscribeResponseSchema, frame.subarray(5)).event;
}

/** The data of the notification in a frame. */
export function dataIn(frame: Uint8Array): string {
  const event = eventOf(frame);
  return event.case === "notification" ? event.value.data : "";
}

/** An entry of an inbox with what is in its frame. */
export function readEntry(entry: InboxEntry): InboxItem & Omit<InboxEntry, "frame" | "kind"> {
  const { frame, kind: _, ...place } = entry;
  const event = eventOf(frame);
  if (event.case === "notification") return { ...place, kind: "notification", notification: event.value };
  if (event.case === "message") return { ...place, kind: "message", message: event.value };
  if (event.case === "recall") return { ...place, kind: "recall", recall: event.value, timeMs: 0 };
  throw new TypeError(`a ${event.case} is no item`);
}

/** The events of a session, one after the other as they are asked for. */
export function eventsOf(session: Session) {
  return pull(SubscribeResponseSchema, (sink) => session.pipe(sink));
}
