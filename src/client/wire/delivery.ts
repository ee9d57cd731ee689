import type { AckRequest, AckResponse, SubscribeRequest } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import type {
  SendBusinessNotificationRequest,
  SendBusinessNotificationResponse,
} from "../../gen/mustreach/msg/v1/msg_pb.ts";
import type { Cursor } from "./cursor.ts";
import type { Plain, Received } from "./event.ts";
import type { ConnectTransport } from "./transport.ts";

/** What goes with a call. */
export interface CallOptions {
  readonly token: string;
  readonly signal: AbortSignal;
}

/** Where a session begins. */
export type Subscription = Pick<SubscribeRequest, "deviceId" | "window" | "start"> &
  Partial<Pick<SubscribeRequest, "afterSequence" | "epoch">>;

/** The service as a device uses it. What goes wrong is a MustreachClientError, or the signal's reason. */
export interface Delivery {
  subscribe(request: Subscription, options: CallOptions): AsyncIterable<Received>;
  ack(request: Plain<AckRequest>, options: CallOptions): Promise<Pick<AckResponse, "sequence">>;
}

/** The service by calls: as a device uses it, and a sender. */
export interface Calls extends Delivery {
  send(request: SendRequest, options: CallOptions): Promise<SendAnswer>;
}

/** What the service answers to a send. */
export type SendAnswer = Omit<Plain<SendBusinessNotificationResponse>, "durability"> & { readonly durability: number };

/** A notification to send. */
export type SendRequest = Plain<Omit<SendBusinessNotificationRequest, "escalationDelaySeconds">>;

/**
 * Creates calls over fetch.
 *
 * @throws {TypeError} for a baseUrl that is not an http or https address.
 */
export type CreateCalls = (baseUrl: string) => Calls;

/** Creates calls over a transport of Connect. */
export type CreateCallsOver = (transport: ConnectTransport) => Calls;

/** The service where a session takes acknowledgements on its own stream. Its `ack` is still a call, which is answered. */
export interface Receiving extends Delivery {
  /** Acknowledges on the stream of the session; there is no answer. False when no session is ready. */
  acknowledge(cursor: Cursor): boolean;

  /** Wants no notifications any more. */
  pause(): void;

  /** Resolves when this turn of the event loop is over: what is acknowledged in it is told at once. */
  turn(): Promise<void>;
}

/**
 * Creates it for where the service answers.
 *
 * @param other where sessions go that this way does not reach the service for, and `ack`.
 */
export type CreateReceiving = (baseUrl: string, other: Delivery) => Receiving;
