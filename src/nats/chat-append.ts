import { setTimeout as delay } from "node:timers/promises";
import { ConnectError } from "@connectrpc/connect";
import { failure } from "../errors.ts";
import type { Message } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { conversationToken } from "./chat-records.ts";
import type { ChatCopy, StoreCopies } from "./chat-store.ts";
import type { Broker } from "./connect.ts";

/** Copies in a batch: with what goes with each, at most 6 messages, they stay below the broker's 1,000. */
const maxCopies = 100;

/** The copies of a batch have at most this much data, in UTF-16 units, or are one. */
const maxDataUnits = 2_097_152;

/** One try gets this long at most, in milliseconds, so that a broker that was restarted is asked again soon. */
const tryTimeoutMs = 2_000;

/** The longest pause before the next try, in milliseconds. */
const maxRetryDelayMs = 50;

interface Waiting {
  readonly copy: ChatCopy;
  readonly conversation: string;
  readonly deadlineMs: number;
  /** Its caller has been told that it took too long. */
  isOver: boolean;
  resolve(message: Message): void;
  reject(error: unknown): void;
}

/**
 * Creates the append of a copy to its conversation. Copies that wait share a batch, since a batch costs the broker
 * about 5 ms whatever its size, and one is under way at a time, since the place of a copy depends on the one before.
 *
 * @param timeoutMs how long an append may take, with all its tries.
 */
export function createAppend(broker: Broker, store: StoreCopies, timeoutMs: number) {
  const queue: Waiting[] = [];
  let isStoring = false;

  const storeNext = async (): Promise<void> => {
    if (isStoring) return;
    isStoring = true;
    while (queue.length > 0) {
      const taken = takeSome(queue);
      if (taken.length > 0) await storeAll([...Map.groupBy(taken, ({ conversation }) => conversation).values()]);
    }
    isStoring = false;
  };

  /** Stores copies, grouped by conversation; never rejects. */
  const storeAll = async (groups: readonly (readonly Waiting[])[]): Promise<void> => {
    const taken = groups.flat();
    const deadlineMs = Math.max(...taken.map((waiting) => waiting.deadlineMs));
    let cause: unknown;
    while (Date.now() < deadlineMs) {
      const end = await tryStore(taken, deadlineMs).catch((error: unknown) => ({ kind: "failed", error }) as const);
      if (end.kind === "stored") {
        for (const [index, message] of end.messages.entries()) taken[index]?.resolve(message);
        return;
      }
      const isAway = end.kind === "failed" && end.error instanceof ConnectError;
      if (!isAway && groups.length > 1) {
        // One conversation is to blame; the others do not suffer for it.
        const half = Math.ceil(groups.length / 2);
        await storeAll(groups.slice(0, half));
        await storeAll(groups.slice(half));
        return;
      }
      cause = end.kind === "rejected" ? end.reason : end.error;
      if (!isAway && !(end.kind === "rejected" && end.isTransient)) break;
      // Random, so that instances that got in each other's way do not do so again.
      await delay(Math.random() * maxRetryDelayMs);
    }
    for (const { reject } of taken) reject(failure("NetworkError", "the broker did not store the chat copy", cause));
  };

  const tryStore = async (taken: readonly Waiting[], deadlineMs: number) => {
    await broker.whenConnected(deadlineMs);
    return inTime(store(taken.map(({ copy }) => copy)));
  };

  return (copy: ChatCopy): Promise<Message> =>
    new Promise((resolve, reject) => {
      const conversation = conversationToken(copy.parties);
      const timer = setTimeout(() => {
        waiting.isOver = true;
        reject(notInTime());
      }, timeoutMs);
      const waiting: Waiting = {
        copy,
        conversation,
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
      queue.push(waiting);
      void storeNext();
    });
}

/** Takes the copies of the next batch from the queue; those whose callers are gone are left out. */
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
