import { create } from "@bufbuild/protobuf";
import { failure } from "../errors.ts";
import { RecallSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Cursors } from "../inbox/cursors.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { chunksOf } from "./audience.ts";
import type { FindSend, FoundSend, SendReference } from "./find-send.ts";
import type { RecallFindings, Recalls } from "./recall-findings.ts";
import type { Sends } from "./record.ts";
import type { RemoveEverywhere } from "./remove-everywhere.ts";
import type { Tombstones } from "./tombstones.ts";

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
  readonly tombstones: Tombstones;
  readonly cursors: Pick<Cursors, "ofUsers">;
  /** Drops a send that waits for its time; false when it does not. */
  readonly cancelScheduled: (serverMsgId: string) => Promise<boolean>;
}

/** Recalls a send; {@link createRecall} makes it. */
export type Recall = (reference: SendReference, operationId: string) => Promise<Recalled>;

/** Up to this many are removed one by one; more at once, which costs the broker a look at all inboxes. */
const maxSingleRemovals = 50;

/** How often what is stored meanwhile is removed. Who stores it ends when it hears of the recall: twice is much. */
const maxRemovals = 10;

/**
 * Creates the recall. Idempotent: a second one, also after the first ended halfway, does what is left to do and answers
 * the same. Once it has resolved, no inbox has the notification, and none gets it: a send that is still under way, on
 * whatever instance, finds its place taken.
 *
 * Throws as {@link FindSend}; after NetworkError (90004) the send is recalled for some of its recipients.
 */
export function createRecall(options: RecallOptions): Recall {
  const { findSend, sends, recalls, inbox, removeEverywhere, tombstones, cursors, cancelScheduled } = options;

  /** Notes whose devices had acknowledged it before any of it is removed, and returns where it is. */
  const look = async (
    { record, recipients }: FoundSend,
    findIn: (userIds: readonly string[]) => Promise<ReadonlyMap<string, number>>,
  ): Promise<ReadonlyMap<string, number>> => {
    const findings = await recalls.open(record.serverMsgId);
    const everywhere = new Map<string, number>();
    for (const chunk of chunksOf(recipients)) {
      const found = await findIn(chunk);
      if (found.size === 0) continue;
      await note(findings, found);
      for (const [userId, sequence] of found) everywhere.set(userId, sequence);
    }
    return everywhere;
  };

  /** Removes it from all inboxes, and takes its place there: as often as it was stored before that was taken. */
  const withdraw = async (send: FoundSend, operationId: string): Promise<void> => {
    const { serverMsgId, sendTime, deliverAtMs } = send.record;
    const notification = { serverMsgId, sendTimeMs: deliverAtMs || sendTime };
    let found = await look(send, (userIds) => inbox.find(userIds, serverMsgId));
    for (let removals = 0; removals < maxRemovals; removals++) {
      if (found.size > maxSingleRemovals) await removeEverywhere(serverMsgId, found);
      else await inbox.remove(found);
      found = await look(send, (userIds) => tombstones.place(userIds, notification, operationId));
      if (found.size === 0) return;
    }
    throw failure("NetworkError", "the notification is still being written into inboxes; recall it again");
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

  return async (reference, operationId) => {
    const send = await findSend(reference);
    const { record, recipients } = send;
    const { serverMsgId, clientMsgId } = record;
    // First, so that whoever has not begun to store it does not.
    const timeMs = await sends.recall(serverMsgId);
    if (record.deliverAtMs > 0) await cancelScheduled(serverMsgId);
    await withdraw(send, operationId);

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
