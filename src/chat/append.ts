import { setTimeout as delay } from "node:timers/promises";
import { judge } from "../broker/faults.ts";
import { untilAnswered } from "../broker/until.ts";
import { type Deadline, deadlineIn, leftUntil } from "../deadline.ts";
import { failure } from "../errors.ts";
import type { Message } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { type ChatCopy, type ChatStore, type CopiesStored, storeCopies } from "./copies.ts";
import { conversationToken } from "./records.ts";

/** Copies in a batch: with what goes with each, at most 6 messages, they stay below the broker's 1,000. */
const maxCopies = 100;

/** The copies of a batch have at most this much data, in UTF-16 units, or are one. */
const maxDataUnits = 2_097_152;

/** One try gets this long at most, in milliseconds. */
const tryTimeoutMs = 2_000;

/** The longest pause before the next try, in milliseconds. */
const maxRetryDelayMs = 50;

/** An incomplete batch of one conversation is tried this often: the broker is hardly ever that busy for long. */
const maxIncompletes = 5;

interface Waiting {
  readonly copy: ChatCopy;
  readonly conversation: string;
  /** How often a batch of its conversation alone was incomplete. */
  incompletes: number;
  /** When its caller is told that it took too long, in epoch milliseconds. */
  readonly deadline: Deadline;
  resolve(message: Message): void;
  reject(error: unknown): void;
}

/**
 * Creates the append of a copy to its conversation. Copies that wait share a batch, since a batch costs the broker
 * about 5 ms whatever its size, and one is under way at a time, since the place of a copy depends on the one before:
 * measured at 2.9 thousand copies a second to as many users on two busy cores, against 110 with a batch for each.
 *
 * @param timeoutMs how long an append may take, with all its tries.
 */
export function createAppend(store: ChatStore, timeoutMs: number): (copy: ChatCopy) => Promise<Message> {
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

  /** Stores copies, grouped by conversation, or puts them back into the queue; never rejects. */
  const storeAll = async (groups: readonly (readonly Waiting[])[]): Promise<void> => {
    const taken = groups.flat();
    const end = await tryStore(taken).catch(judge);
    if (end.kind === "stored") {
      for (const [index, message] of end.messages.entries()) taken[index]?.resolve(message);
      return;
    }
    const isAway = end.kind === "retry";
    if (!isAway && groups.length > 1) {
      // One conversation is to blame; the others do not suffer for it.
      const half = Math.ceil(groups.length / 2);
      await storeAll(groups.slice(0, half));
      await storeAll(groups.slice(half));
      return;
    }
    const isTransient = isAway || end.kind === "overtaken" || end.kind === "incomplete";
    const again: Waiting[] = [];
    for (const waiting of taken) {
      if (end.kind === "incomplete") waiting.incompletes++;
      if (isTransient && waiting.incompletes < maxIncompletes) again.push(waiting);
      else waiting.reject("failure" in end ? end.failure : notInTime());
    }
    if (again.length > 0) void putBack(again);
  };

  const tryStore = (taken: readonly Waiting[]): Promise<CopiesStored> =>
    untilAnswered(store.broker, deadlineIn(tryTimeoutMs), () =>
      storeCopies(
        store,
        taken.map(({ copy }) => copy),
      ),
    );

  const putBack = async (again: readonly Waiting[]): Promise<void> => {
    // Random, so that instances that got in each other's way do not do so again.
    await delay(Math.random() * maxRetryDelayMs);
    queue.push(...again);
    await storeNext();
  };

  return (copy) => {
    const { promise, resolve, reject } = Promise.withResolvers<Message>();
    const timer = setTimeout(() => reject(notInTime()), timeoutMs);
    const conversation = conversationToken(copy.parties);
    queue.push({ copy, conversation, incompletes: 0, deadline: deadlineIn(timeoutMs), resolve, reject });
    void storeNext();
    return promise.finally(() => clearTimeout(timer));
  };
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
  return queue.splice(0, count).filter(({ deadline }) => leftUntil(deadline) > 0);
}

function notInTime() {
  return failure("NetworkError", "the broker did not store the chat copy in time");
}
