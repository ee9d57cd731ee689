import { nuid } from "@nats-io/transport-node";
import { z } from "zod";
import { type Deadline, leftUntil } from "../deadline.ts";
import type { Broker } from "./connect.ts";
import { isGone, isOvertaken, type Refusal, toFailure, toRefusal } from "./faults.ts";
import type { Message } from "./messages.ts";
import { again, untilAnswered } from "./until.ts";

/** A message to store. */
export interface Write {
  readonly subject: string;
  readonly payload: Uint8Array;
  /** Default: none. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The sequence of the record that it replaces, 0 for none: it is refused where another is there. Default: any. */
  readonly replaces?: number;
  /** A name of it for {@link Write.directlyAfter}, which no other message of the stream has. Default: none. */
  readonly name?: string;
  /** It is refused unless the last message of the stream has this name; for streams without replicas. Default: any. */
  readonly directlyAfter?: string;
  /** How long it is kept, in milliseconds, which the broker counts in seconds. Default: as long as its stream says. */
  readonly ttlMs?: number | undefined;
}

/** What came of writes: the sequence of the last, or why none of them is stored. */
export type Stored = { readonly kind: "stored"; readonly sequence: number } | ({ readonly kind: "refused" } & Refusal);

/** What came of a write and its follower: `followedAt` is the sequence of that, if it is stored as well. */
export type Followed = Stored & { readonly followedAt?: number | undefined };

/** What {@link replace} stores, one saying what it replaces, and the answer then; without writes, nothing changes. */
export interface Revision<T> {
  readonly writes: readonly Write[];
  readonly answer: T;
}

/** One try of {@link replace} gets this long at most, in milliseconds: a broker that was restarted is asked again soon. */
const tryTimeoutMs = 2_000;

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
 * @throws what the client library throws, such as when the broker did not answer in time: they are stored or not.
 */
export async function write(broker: Broker, writes: readonly Write[], timeoutMs: number): Promise<Stored> {
  if (writes.length > maxBatchMessages) throw new RangeError(`a batch holds at most ${maxBatchMessages} messages`);
  const id = nuid.next();
  const messages = writes.map((one, index) => {
    const place = { id, sequence: index + 1, isLast: index === writes.length - 1 };
    return toMessage(one, writes.length === 1 ? undefined : place);
  });
  if (messages.length === 0) throw new RangeError("there is nothing to write");
  const answer = await broker.ask(messages, timeoutMs);
  const { seq, error } = pubAck.parse(answer.json());
  if (error !== undefined) return { kind: "refused", errCode: error.err_code ?? 0, reason: error.description };
  return { kind: "stored", sequence: seq ?? 0 };
}

/**
 * Reads, changes and writes, with no other write in between: stores what `revise` makes of what it reads, all or none,
 * and calls it again when another came first. A try that was not acknowledged may be stored: `revise` then finds it.
 *
 * @throws NetworkError (90004) when nothing is acknowledged by `deadline`; what `revise` throws.
 */
export function replace<T>(
  broker: Broker,
  deadline: Deadline,
  revise: () => Promise<Revision<T> | typeof again>,
): Promise<T> {
  return untilAnswered(broker, deadline, async () => {
    const revision = await revise();
    if (revision === again || revision.writes.length === 0) return revision === again ? again : revision.answer;
    const stored = await write(broker, revision.writes, Math.min(tryTimeoutMs, Math.max(1, leftUntil(deadline))));
    if (stored.kind === "stored") return revision.answer;
    if (isOvertaken(stored)) return again;
    throw toRefusal(stored);
  });
}

/**
 * Removes a stored message; false when it is not there: another was faster, or the retention.
 *
 * @param isErased whether its bytes are overwritten.
 * @throws NetworkError (90004) when the broker does not answer in time.
 */
export async function remove(broker: Broker, stream: string, sequence: number, isErased = true): Promise<boolean> {
  try {
    return await broker.jsm.streams.deleteMessage(stream, sequence, isErased);
  } catch (error) {
    if (isGone(error)) return false;
    throw toFailure(error);
  }
}

/** Where a write is in its batch. */
interface BatchPlace {
  readonly id: string;
  readonly sequence: number;
  readonly isLast: boolean;
}

/** What ends a header's line. */
const lineEnd = /[\r\n]/;

function toMessage(write: Write, batch: BatchPlace | undefined): Message {
  const { subject, payload, headers, replaces, name, directlyAfter, ttlMs } = write;
  let lines = "";
  for (const key in headers) lines += toLine(key, headers[key] ?? "");
  if (replaces !== undefined) lines += toLine("Nats-Expected-Last-Subject-Sequence", String(replaces));
  if (name !== undefined) lines += toLine("Nats-Msg-Id", name);
  if (directlyAfter !== undefined) lines += toLine("Nats-Expected-Last-Msg-Id", directlyAfter);
  if (ttlMs !== undefined) lines += toLine("Nats-TTL", `${Math.max(1, Math.ceil(ttlMs / 1_000))}s`);
  if (batch !== undefined) {
    lines += `Nats-Batch-Id: ${batch.id}\r\nNats-Batch-Sequence: ${batch.sequence}\r\n`;
    if (batch.isLast) lines += "Nats-Batch-Commit: 1\r\n";
  }
  return { subject, payload, headers: lines };
}

function toLine(key: string, value: string): string {
  if (lineEnd.test(value)) throw new RangeError(`the header ${key} has a line end`);
  return `${key}: ${value}\r\n`;
}

/** How far the clock was ahead by which a moment was meant, in milliseconds; absent where it was not. */
export const aheadHeader = "Mustreach-Ahead";

/**
 * Headers of a message that the broker keeps until a moment, in epoch milliseconds, and stores then under `subject`
 * (ADR-51).
 *
 * @param aheadMs how far the clock of that moment is ahead of the broker's. Default 0.
 */
export function storedAt(atMs: number, subject: string, aheadMs = 0): Record<string, string> {
  return {
    "Nats-Schedule": `@at ${new Date(atMs - aheadMs).toISOString()}`,
    "Nats-Schedule-Target": subject,
    ...(aheadMs === 0 ? {} : { [aheadHeader]: String(aheadMs) }),
  };
}

/** Reads what {@link storedAt} has written: the moment, by the clock that it was meant by, and the subject. */
export function readStoredAt(header: (name: string) => string): { atMs: number; target: string } {
  const brokerMs = Date.parse(header("Nats-Schedule").replace(/^@at /, ""));
  return { atMs: brokerMs + Number(header(aheadHeader)), target: header("Nats-Schedule-Target") };
}
