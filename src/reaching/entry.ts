import type { Addressing } from "../addressing.ts";
import type { Delivery } from "../broker/consumers/consume.ts";

/** What the consumer `reach` tells of an inbox entry: its headers only. It is held until the first ack or nak. */
export interface ReachEntry extends Pick<Delivery, "sequence" | "storedAtMs" | "ack" | "nak"> {
  readonly partition: number;
  /** The owner of the inbox. */
  readonly userId: string;
  readonly userToken: string;
  /** `message` or `recall`; `notification` for what may need to be escalated. */
  readonly kind: string;
  /** When it is no longer worth delivering, in epoch milliseconds; undefined: when the retention ends. */
  readonly expiresAtMs: number | undefined;
  /** How long after the write it is to be escalated, in milliseconds; undefined: as the settings say. */
  readonly escalateAfterMs: number | undefined;
  /** Which devices it is for; undefined: all. */
  readonly devices?: Addressing | undefined;
  /** The serverMsgID of a notification whose end is to be reported, until somebody looks after that; else undefined. */
  readonly reportId?: string | undefined;
  /** How many notifications it stands for: one, but for a reminder. */
  readonly notifications: number;
}
