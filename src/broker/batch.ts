import { randomUUID } from "node:crypto";
import { type MsgHdrs, headers as newHeaders } from "@nats-io/transport-node";
import { z } from "zod";
import type { Broker } from "./connect.ts";
import type { Refusal } from "./faults.ts";

/** One message of a batch. */
export interface BatchMessage {
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly headers?: MsgHdrs;
}

/** What came of a batch: the sequence of its last message, or why none of it is stored. */
export type BatchStored =
  | { readonly kind: "stored"; readonly sequence: number }
  | ({ readonly kind: "rejected" } & Refusal);

/** JetStream takes at most this many messages in a batch (ADR-50). */
export const maxBatchMessages = 1_000;

const pubAck = z.object({
  seq: z.number().optional(),
  error: z.object({ err_code: z.number().optional(), description: z.string() }).optional(),
});

/**
 * Stores messages of one stream, all or none (ADR-50). Only the last asks for an answer, so a batch costs one round
 * trip; the client library's own batch waits for two.
 *
 * @throws what the client library throws, such as when the broker did not answer in time: the batch is stored or not.
 */
export async function storeBatch(
  broker: Broker,
  messages: readonly BatchMessage[],
  timeoutMs: number,
): Promise<BatchStored> {
  if (messages.length > maxBatchMessages) throw new RangeError(`a batch holds at most ${maxBatchMessages} messages`);
  const id = randomUUID();
  const last = messages.length - 1;
  for (const [index, message] of messages.entries()) {
    const headers = message.headers ?? newHeaders();
    headers.set("Nats-Batch-Id", id);
    headers.set("Nats-Batch-Sequence", String(index + 1));
    if (index < last) {
      broker.nc.publish(message.subject, message.payload, { headers });
      continue;
    }
    headers.set("Nats-Batch-Commit", "1");
    const answer = await broker.nc.request(message.subject, message.payload, { headers, timeout: timeoutMs });
    const { seq, error } = pubAck.parse(answer.json());
    if (error !== undefined) return { kind: "rejected", errCode: error.err_code ?? 0, reason: error.description };
    return { kind: "stored", sequence: seq ?? 0 };
  }
  throw new RangeError("a batch holds at least one message");
}
