import { setTimeout as delay } from "node:timers/promises";
import { ConnectError } from "@connectrpc/connect";
import { JetStreamApiCodes } from "@nats-io/jetstream";
import { failure } from "../errors.ts";
import type { Message } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { conversationToken } from "./chat-records.ts";
import type { ChatCopy, StoreCopies } from "./chat-store.ts";
import type { Broker } from "./connect.ts";

/** Batches under way at a time: the broker takes 50 for a stream, from all instances together. */
const maxStoring = 16;

/** Copies of one conversation in a batch: with what goes with each they stay below the broker's 1,000 messages. */
const maxCopies = 100;

/** The copies of a batch have at most this much data, in UTF-16 units, or are one. */
const maxDataUnits = 2_097_152;

/** One try gets this long at most, in milliseconds, so that a broker that was restarted is asked again soon. */
const tryTimeoutMs = 2_000;

/** The longest pause before the next try, in milliseconds. */
const maxRetryDelayMs = 50;

/** Rejections after which another try may succeed. */
const transient: readonly number[] = [
  // Another instance stored a copy in the meantime.
  JetStreamApiCodes.StreamWrongLastSequence,
  JetStreamApiCodes.StreamWrongLastSequenceUnknown,
  // JSAtomicPublishTooManyInflight, and JSAtomicPublishIncompleteBatchErr for the messages that follow it.
  10210,
  10176,
];

interface Waiting {
  readonly copy: ChatCopy;
  readonly deadlineMs: number;
  /** Its caller has been told that it took too long. */
  isOver: boolean;
  resolve(message: Message): void;
  reject(error: unknown): void;
}

/**
 * Creates the append of a copy to its conversation. Copies of one conversation that wait share a batch: their places
 * depend on each other, so one after the other they would take a round trip each.
 *
 * @param timeoutMs how long an append may take, with all its tries.
 */
export function createAppend(broker: Broker, store: StoreCopies, timeoutMs: number) {
  /** By conversation. */
  const queues = new Map<string, Waiting[]>();
  /** Conversations whose copies wait while none of them is being stored. */
  const ready: string[] = [];
  let storing = 0;

  const storeReady = (): void => {
    while (storing < maxStoring) {
      const conversation = ready.shift();
      if (conversation === undefined) return;
      storing++;
      void storeSome(conversation).finally(() => {
        storing--;
        storeReady();
      });
    }
  };

  const storeSome = async (conversation: string): Promise<void> => {
    const queue = queues.get(conversation) ?? [];
    const taken = takeSome(queue);
    try {
      const messages = taken.length === 0 ? [] : await storeInTime(conversation, taken);
      for (const [index, message] of messages.entries()) taken[index]?.resolve(message);
    } catch (error) {
      for (const { reject } of taken) reject(error);
    }
    // Behind the others: a busy conversation does not hold them up.
    if (queue.length > 0) ready.push(conversation);
    else queues.delete(conversation);
  };

  const storeInTime = async (conversation: string, taken: readonly Waiting[]): Promise<readonly Message[]> => {
    const copies = taken.map(({ copy }) => copy);
    const deadlineMs = Math.max(...taken.map((waiting) => waiting.deadlineMs));
    for (;;) {
      try {
        await broker.whenConnected(deadlineMs);
        const stored = await inTime(store(conversation, copies));
        if (stored.kind === "stored") return stored.messages;
        if (!transient.includes(stored.errCode)) {
          throw new Error(`the broker refused a chat copy: ${stored.reason}`);
        }
      } catch (error) {
        if (!(error instanceof ConnectError)) throw failure("NetworkError", "the chat copy was not stored", error);
        if (Date.now() >= deadlineMs) throw error;
      }
      if (Date.now() >= deadlineMs) throw notInTime();
      // Random, so that instances that got in each other's way do not do so again.
      await delay(Math.random() * maxRetryDelayMs);
    }
  };

  return (copy: ChatCopy): Promise<Message> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.isOver = true;
        reject(notInTime());
      }, timeoutMs);
      const waiting: Waiting = {
        copy,
        deadlineMs: Date.now() + timeoutMs,
        isOver: false,
        resolve(message) {
          clearTimeout(timer);
          resolve(message);
        },
        reject(error) {
          clearTimeout(timer);
          reject(error);
        },
      };
      const conversation = conversationToken(copy.parties);
      const queue = queues.get(conversation);
      if (queue !== undefined) {
        queue.push(waiting);
        return;
      }
      queues.set(conversation, [waiting]);
      ready.push(conversation);
      storeReady();
    });
}

/** Takes the copies of the next batch from a queue; those whose callers are gone are left out. */
function takeSome(queue: Waiting[]): Waiting[] {
  let units = 0;
  let count = 0;
  for (const { copy } of queue) {
    units += copy.notification.data.length;
    if (count > 0 && (units > maxDataUnits || count === maxCopies)) break;
    count++;
  }
  return queue.splice(0, count).filter(({ isOver }) => !isOver);
}

function inTime<T>(work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(notInTime()), tryTimeoutMs);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function notInTime() {
  return failure("NetworkError", "the broker did not store the chat copy in time");
}
