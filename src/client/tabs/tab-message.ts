import type { AckRequest } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Subscription } from "../wire/delivery.ts";
import { type ErrorFacts, MustreachClientError, toClientError } from "../wire/error.ts";
import type { Plain, Received } from "../wire/event.ts";

/**
 * What a tab asks of the one that leads. Messages of the service travel as they are, whatever fields they have, so that
 * tabs with different versions of an app understand each other.
 */
export type TabMessage =
  /** Begin a stream; `received` when it goes on under a new leader: up to there it has got everything. */
  | {
      readonly kind: "subscribe";
      readonly stream: string;
      readonly token: string;
      readonly request: Subscription;
      readonly received?: bigint | undefined;
      /** The epoch of that. */
      readonly epoch?: string | undefined;
    }
  | { readonly kind: "ack"; readonly call: string; readonly token: string; readonly request: Plain<AckRequest> };

/** What the leading tab tells the others, and itself. */
export type LeaderMessage =
  /** A tab has begun to lead, and knows of nothing that was asked before. */
  | { readonly kind: "leading" }
  /** A stream has begun: `ready`, and what follows the place where it begins. */
  | { readonly kind: "begun"; readonly stream: string; readonly events: readonly Received[] }
  /** An event for every stream that has begun. */
  | { readonly kind: "event"; readonly event: Received }
  /** The end of one stream, or of all that have begun: by the service's advice, with an error, or neither. */
  | {
      readonly kind: "ended";
      readonly stream?: string | undefined;
      readonly reconnectAfterMs?: number | undefined;
      readonly error?: PackedError | undefined;
    }
  | { readonly kind: "acked"; readonly call: string; readonly sequence: bigint }
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

/** mustreach.delivery.v1.Gap.Reason.REASON_STORE_CHANGED */
const storeChanged = 4;

/** Whether an event tells that the store was replaced: its place is where the stream begins. */
export function isStoreChange({ event }: Received): boolean {
  return event.case === "gap" && event.value.reason === storeChanged;
}
