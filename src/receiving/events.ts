import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import { failure } from "../errors.ts";
import { SubscribeResponseSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { toFrame } from "../inbox/event-frame.ts";
import type { Position } from "../inbox/lineage.ts";
import type { FeedGap } from "./feed.ts";

/** An event of a session as a message. */
export type EventInit = NonNullable<MessageInitShape<typeof SubscribeResponseSchema>["event"]>;

/** Why a session ends: after one more event, with an error, or both. */
export interface SessionEnd {
  readonly last?: EventInit;
  readonly error?: ConnectError;
}

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

export function encodeGap({ from, sequence, epoch, reason }: FeedGap): Uint8Array {
  return encodeEvent({ case: "gap", value: { from: BigInt(from), to: BigInt(sequence), epoch, reason } });
}

/** Why sessions end, by themselves or all at once. */
export const sessionEnds = {
  /** The instance is stopping. Spread, so that a stop is not followed by a storm. */
  drained: () => reconnect(500 + Math.floor(Math.random() * 2_000), "the server is stopping"),

  /** The device begins a session anew, which tells it where the store goes on. Spread: all hear of it at once. */
  storeChanged: () => reconnect(Math.floor(Math.random() * 2_000), "the store of notifications was replaced"),

  expired: (): SessionEnd => ({ error: failure("TokenExpiredError", "the token expired") }),

  revoked: (): SessionEnd => ({ error: failure("TokenKickedError", "the token was revoked") }),

  replaced: (): SessionEnd => ({
    error: failure("TokenKickedError", "a newer session of this device was opened"),
  }),
} as const;

function reconnect(afterMs: number, reason: string): SessionEnd {
  return { last: { case: "reconnect", value: { afterMs, reason } } };
}
