import { fromBinary, toJson } from "@bufbuild/protobuf";
import { type SubscribeResponse, SubscribeResponseSchema } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";

/** Bytes of a frame before its message. */
const prefixBytes = 5;

/** An event of a session. */
export interface JsonEvent {
  readonly event: SubscribeResponse["event"];
  /** The content of the event, in protobuf's JSON. It has no line end. */
  readonly json: string;
}

/** An event in the form of a door, of its frame. */
export type EncodeFrame = (frame: Uint8Array) => Uint8Array;

/** Has each event encoded once, however many receivers share its frame: for as long as any of them has that. */
export function encodeOnce(encode: (event: JsonEvent) => Uint8Array): EncodeFrame {
  const known = new WeakMap<Uint8Array, Uint8Array>();
  return (frame) => {
    let encoded = known.get(frame);
    if (encoded === undefined) {
      encoded = encode(toJsonEvent(frame));
      known.set(frame, encoded);
    }
    return encoded;
  };
}

function toJsonEvent(frame: Uint8Array): JsonEvent {
  const response = fromBinary(SubscribeResponseSchema, frame.subarray(prefixBytes));
  const [content = {}] = Object.values(toJson(SubscribeResponseSchema, response) as object);
  return { event: response.event, json: JSON.stringify(content) };
}
