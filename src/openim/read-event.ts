import { fromBinary } from "@bufbuild/protobuf";
import { SubscribeResponseSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Position } from "../inbox/lineage.ts";
import { toNumber } from "./conversation.ts";
import { encodeMessage } from "./wire/messages.ts";

/** What comes next in a user's inbox. */
export interface Item extends Position {
  /** As the SDKs take it; undefined for what they have no callback for. */
  readonly message: Uint8Array | undefined;
}

/** What an event of a session is to an SDK. */
export type SdkEvent =
  | { readonly kind: "online"; readonly message: Uint8Array }
  | { readonly kind: "stored"; readonly item: Item }
  /** What was stored is not to be shown any more. */
  | { readonly kind: "settled"; readonly position: Position }
  | { readonly kind: "nothing" };

/** Bytes of a frame before its message. */
const prefixBytes = 5;

const nothing: SdkEvent = { kind: "nothing" };

/** Events by their frames, which sessions share: what many get is encoded once. */
const known = new WeakMap<Uint8Array, SdkEvent>();

/** Reads a frame of a session. */
export function readEvent(frame: Uint8Array): SdkEvent {
  const event = known.get(frame) ?? decode(frame);
  known.set(frame, event);
  return event;
}

function decode(frame: Uint8Array): SdkEvent {
  const { event } = fromBinary(SubscribeResponseSchema, frame.subarray(prefixBytes));
  switch (event.case) {
    case "notification": {
      const sequence = Number(event.value.sequence);
      const message = encodeMessage(event.value, toNumber(sequence));
      return sequence === 0 ? { kind: "online", message } : toStored(event.value, message);
    }
    // What OpenIM's SDKs have no callback for, or another than for this.
    case "message":
      return event.value.notification === undefined ? nothing : toStored(event.value.notification);
    case "recall":
      return toStored(event.value);
    case "settled": {
      const { sequence, epoch, wasSent } = event.value;
      return wasSent ? { kind: "settled", position: { sequence: Number(sequence), epoch } } : toStored(event.value);
    }
    case "gap":
      return toStored({ sequence: event.value.to, epoch: event.value.epoch });
    default:
      return nothing;
  }
}

interface Stored {
  readonly sequence: bigint;
  readonly epoch: string;
}

function toStored({ sequence, epoch }: Stored, message?: Uint8Array): SdkEvent {
  return { kind: "stored", item: { sequence: Number(sequence), epoch, message } };
}
