import { fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  Gap_Reason,
  type SubscribeResponse,
  SubscribeResponseSchema,
} from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import { type ErrorFacts, MustreachClientError, toClientError } from "../wire/error.ts";

/**
 * What a tab asks of the one that leads. Messages of the service travel in their binary form, so that tabs with
 * different versions of an app understand each other.
 */
export type TabMessage =
  /** Begin a stream; `received` when it goes on under a new leader: up to there it has got everything. */
  | {
      readonly kind: "subscribe";
      readonly stream: string;
      readonly token: string;
      readonly request: Uint8Array;
      readonly received?: bigint | undefined;
      /** The epoch of that. */
      readonly epoch?: string | undefined;
    }
  | { readonly kind: "ack"; readonly call: string; readonly token: string; readonly request: Uint8Array };

/** What the leading tab tells the others, and itself. */
export type LeaderMessage =
  /** A tab has begun to lead, and knows of nothing that was asked before. */
  | { readonly kind: "leading" }
  /** A stream has begun: `ready`, and what follows the place where it begins. */
  | { readonly kind: "begun"; readonly stream: string; readonly events: readonly Uint8Array[] }
  /** An event for every stream that has begun. */
  | { readonly kind: "event"; readonly event: Uint8Array }
  /** The end of one stream, or of all that have begun: by the service's advice, with an error, or neither. */
  | {
      readonly kind: "ended";
      readonly stream?: string | undefined;
      readonly reconnectAfterMs?: number | undefined;
      readonly error?: PackedError | undefined;
    }
  | { readonly kind: "acked"; readonly call: string; readonly response: Uint8Array }
  | { readonly kind: "refused"; readonly call: string; readonly error: PackedError };

/** What goes over the channel of a device. */
export type Message = TabMessage | LeaderMessage;

/** An error as it travels. */
export interface PackedError extends ErrorFacts {
  readonly retryAfterMs: number | undefined;
}

/** What of an error can travel. */
export function packError(thrown: unknown): PackedError {
  const { errCode, errMsg, errDlt, retryAfterMs } = toClientError(thrown);
  return { errCode, errMsg, errDlt, retryAfterMs };
}

/** The reverse of {@link packError}. */
export function unpackError({ retryAfterMs, ...facts }: PackedError): MustreachClientError {
  return new MustreachClientError(facts, retryAfterMs === undefined ? {} : { retryAfterMs });
}

/** Whether an event tells that the store was replaced: its place is where the stream begins. */
export function isStoreChange({ event }: SubscribeResponse): boolean {
  return event.case === "gap" && event.value.reason === Gap_Reason.STORE_CHANGED;
}

/** An event as it travels. */
export function packEvent(event: SubscribeResponse): Uint8Array {
  return toBinary(SubscribeResponseSchema, event);
}

/** The reverse of {@link packEvent}. */
export function unpackEvent(bytes: Uint8Array): SubscribeResponse {
  return fromBinary(SubscribeResponseSchema, bytes);
}
