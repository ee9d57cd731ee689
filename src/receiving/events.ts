import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { SubscribeResponseSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { toFrame } from "../inbox/event-frame.ts";
import type { Position } from "../inbox/lineage.ts";
import type { FeedGap, FeedItem, FeedSettled } from "./feed/feed-item.ts";

/** An event of a session as a message. */
export type EventInit = NonNullable<MessageInitShape<typeof SubscribeResponseSchema>["event"]>;

/** Encodes an event that is only one session's. */
export function encodeEvent(event: EventInit): Uint8Array {
  return toFrame(toBinary(SubscribeResponseSchema, create(SubscribeResponseSchema, { event })));
}

/** The session is open: it continues after a place, which so many follow. */
export function encodeReady({ sequence, epoch }: Position, pending: number, deviceId: string): Uint8Array {
  const value = { resumeSequence: BigInt(sequence), pending: BigInt(pending), deviceId, epoch };
  return encodeEvent({ case: "ready", value });
}

export function encodeHeartbeat(latest: number, dropped: number, brokerAway: boolean): Uint8Array {
  const value = { latestSequence: BigInt(latest), droppedOnlinePushes: BigInt(dropped), brokerAway };
  return encodeEvent({ case: "heartbeat", value });
}

function encodeGap({ from, sequence, epoch, reason }: FeedGap): Uint8Array {
  return encodeEvent({ case: "gap", value: { from: BigInt(from), to: BigInt(sequence), epoch, reason } });
}

/** What is next in the device's inbox. */
export function encodeItem(item: FeedItem): Uint8Array {
  if (item.kind === "gap") return encodeGap(item);
  return item.kind === "settled" ? encodeSettled(item, false) : item.frame;
}

/** Another device has acknowledged a notification for the user. */
export function encodeSettled({ sequence, epoch, marks }: Omit<FeedSettled, "kind">, wasSent: boolean): Uint8Array {
  const { serverMsgId, clientMsgId } = marks;
  return encodeEvent({
    case: "settled",
    value: { serverMsgId, clientMsgId, sequence: BigInt(sequence), epoch, wasSent },
  });
}
