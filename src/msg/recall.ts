import type { Recalls } from "../nats/recalls.ts";
import type { Sends } from "../nats/sends.ts";
import { chunksOf } from "./audience.ts";
import type { FindSend, SendReference } from "./find-send.ts";
import type { Withdraw } from "./withdraw.ts";

/** What a recall came to, in recipients. */
export interface Recalled {
  /** No device had acknowledged it. */
  readonly withdrawn: number;
  /** A device had acknowledged it already. */
  readonly delivered: number;
}

/** Options of {@link createRecall}. */
export interface RecallOptions {
  readonly findSend: FindSend;
  readonly sends: Pick<Sends, "recall">;
  readonly recalls: Recalls;
  readonly withdraw: Withdraw;
  /** Drops what waits for its time under the key of a send; false when nothing does. */
  readonly cancelScheduled: (key: string) => Promise<boolean>;
}

/** Recalls a send; {@link createRecall} makes it. */
export type Recall = (reference: SendReference, operationId: string) => Promise<Recalled>;

/**
 * Creates the recall. Idempotent: a second one, also after the first ended halfway, does what is left to do and answers
 * the same.
 *
 * Throws as {@link FindSend}; after NetworkError (90004) the send is recalled for some of its recipients.
 */
export function createRecall({ findSend, sends, recalls, withdraw, cancelScheduled }: RecallOptions): Recall {
  return async (reference, operationId) => {
    const { key, record, recipients } = await findSend(reference);
    // First, so that whoever is still storing it stops.
    const recalledAtMs = await sends.recall(key);
    if (record.deliverAtMs > 0 && (await cancelScheduled(key))) return { withdrawn: recipients.length, delivered: 0 };
    const findings = await recalls.open(key);
    const withdrawal = {
      serverMsgId: record.serverMsgId,
      clientMsgId: record.clientMsgId,
      recalledAtMs,
      findings,
      operationId,
    };
    for (const chunk of chunksOf(recipients)) await withdraw(withdrawal, chunk);
    const delivered = recipients.filter((userId) => findings.hasAcknowledged(userId)).length;
    return { withdrawn: recipients.length - delivered, delivered };
  };
}
