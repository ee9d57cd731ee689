import { setTimeout as delay } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { failure } from "../errors.ts";
import { RecallSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Cursors } from "../nats/cursors.ts";
import type { Inbox } from "../nats/inbox.ts";
import type { RecallFindings, Recalls } from "../nats/recalls.ts";
import type { RemoveEverywhere } from "../nats/remove-everywhere.ts";
import type { Sends } from "../nats/sends.ts";
import { chunksOf } from "./audience.ts";
import type { FindSend, FoundSend, SendReference } from "./find-send.ts";

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
  readonly inbox: Pick<Inbox, "find" | "remove" | "writeMany">;
  readonly removeEverywhere: RemoveEverywhere;
  readonly cursors: Pick<Cursors, "ofUsers">;
  /** Whether a send to a group has not been written into all inboxes yet. */
  readonly isExpanding: (groupId: string, serverMsgId: string) => Promise<boolean>;
  /** Drops a send that waits for its time; false when it does not. */
  readonly cancelScheduled: (serverMsgId: string) => Promise<boolean>;
}

/** Recalls a send; {@link createRecall} makes it. */
export type Recall = (reference: SendReference, operationId: string, options?: RecallTiming) => Promise<Recalled>;

/** When a send to a group is recalled. */
export interface RecallTiming {
  /** Whether it is its own expansion that recalls it again, and so must not wait for its end. Default false. */
  readonly isExpansion?: boolean;
}

/** How long a recall waits for an expansion that is to stop, in milliseconds: until another worker does a dead one's. */
const expandTimeoutMs = 15_000;

/** How often it looks, in milliseconds. */
const expandPollMs = 100;

/** Up to this many are removed one by one; more at once, which costs the broker a look at all inboxes. */
const maxSingleRemovals = 50;

/**
 * Creates the recall. Idempotent: a second one, also after the first ended halfway, does what is left to do and answers
 * the same. Who stores a notification that was recalled meanwhile calls it once more afterwards.
 *
 * Throws as {@link FindSend}; after NetworkError (90004) the send is recalled for some of its recipients.
 */
export function createRecall(options: RecallOptions): Recall {
  const { findSend, sends, recalls, inbox, removeEverywhere, cursors, isExpanding, cancelScheduled } = options;

  /** Notes whose devices had acknowledged it before any of it is removed, and returns where it is. */
  const look = async ({ record, recipients }: FoundSend): Promise<ReadonlyMap<string, number>> => {
    const findings = await recalls.open(record.serverMsgId);
    const everywhere = new Map<string, number>();
    for (const chunk of chunksOf(recipients)) {
      const found = await inbox.find(chunk, record.serverMsgId);
      if (found.size === 0) continue;
      await note(findings, found);
      for (const [userId, sequence] of found) everywhere.set(userId, sequence);
    }
    return everywhere;
  };

  const note = async (findings: RecallFindings, found: ReadonlyMap<string, number>): Promise<void> => {
    const acknowledged = new Map<string, readonly string[]>();
    for (const [userId, devices] of await cursors.ofUsers([...found.keys()])) {
      const past = devices.filter(({ sequence }) => sequence >= (found.get(userId) ?? Number.POSITIVE_INFINITY));
      if (past.length > 0)
        acknowledged.set(
          userId,
          past.map(({ deviceId }) => deviceId),
        );
    }
    await findings.add(acknowledged);
  };

  /** A worker that has not heard of the recall may still write; when it has ended, nobody does. */
  const whenExpanded = async ({ recvGroupId, serverMsgId }: FoundSend["record"]): Promise<void> => {
    const deadlineMs = Date.now() + expandTimeoutMs;
    while (recvGroupId !== "" && (await isExpanding(recvGroupId, serverMsgId))) {
      if (Date.now() > deadlineMs) {
        throw failure("NetworkError", "the notification is still being written into inboxes; recall it again");
      }
      await delay(expandPollMs);
    }
  };

  return async (reference, operationId, { isExpansion = false } = {}) => {
    const send = await findSend(reference);
    const { record, recipients } = send;
    const { serverMsgId, clientMsgId } = record;
    // First, so that whoever is still storing it stops.
    const timeMs = await sends.recall(serverMsgId);
    if (record.deliverAtMs > 0 && (await cancelScheduled(serverMsgId)))
      return { withdrawn: recipients.length, delivered: 0 };

    if (!isExpansion) await whenExpanded(record);
    const found = await look(send);
    if (found.size > maxSingleRemovals) await removeEverywhere(serverMsgId);
    else await inbox.remove(found);

    // Read again: what another call has removed before we looked, it had noted before.
    const findings = await recalls.open(record.serverMsgId);
    if (findings.isAny()) {
      const item = { kind: "recall", recall: create(RecallSchema, { serverMsgId, clientMsgId }), timeMs } as const;
      for (const chunk of chunksOf(recipients)) await inbox.writeMany(chunk, item, { operationId });
    }
    const delivered = recipients.filter((userId) => findings.hasAcknowledged(userId)).length;
    return { withdrawn: recipients.length - delivered, delivered };
  };
}
