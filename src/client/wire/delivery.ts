import type { Client } from "@connectrpc/connect";
import type { DeliveryService } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Cursor } from "./cursor.ts";

/** The service as a device uses it. */
export type Delivery = Pick<Client<typeof DeliveryService>, "subscribe" | "ack">;

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
