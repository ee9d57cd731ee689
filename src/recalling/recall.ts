import { create } from "@bufbuild/protobuf";
import type { Addressing } from "../addressing.ts";
import type { Cursors } from "../cursors/cursors.ts";
import { hasGot } from "../cursors/device-cursors.ts";
import { failure } from "../errors.ts";
import { RecallSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { chunksOf, type RecallFindings, type Recalls, toRecallState } from "./findings.ts";
import type { Tombstones } from "./tombstones.ts";

/** What is to be recalled. */
export interface RecallableSend {
  readonly record: Addressing & {
    readonly serverMsgId: string;
    readonly clientMsgId: string;
    /** When it was accepted, in epoch milliseconds. */
    readonly sendTime: number;
    /** When it is to be delivered, in epoch milliseconds; 0: when it was accepted. */
    readonly deliverAtMs: number;
    /** The key of the notification, where what becomes of it is reported. */
    readonly reportKey?: string | undefined;
  };
  readonly recipients: readonly string[];
}

/** What a recall came to, in recipients. */
export interface Recalled {
  /** No device had acknowledged it. */
  readonly withdrawn: number;
  /** A device had acknowledged it already. */
  readonly delivered: number;
}

export interface RecallDeps {
  readonly recalls: Pick<Recalls, "mark" | "open">;
  readonly inbox: Pick<Inbox, "find" | "remove" | "writeMany">;
  /** Removes many at once, as far as they were found. */
  readonly removeEverywhere: (serverMsgId: string, found: ReadonlyMap<string, number>) => Promise<void>;
  readonly tombstones: Tombstones;
  readonly cursors: Pick<Cursors, "ofUsers">;
  /** Drops a send that waits for its time; false when it does not. */
  readonly cancelScheduled: (serverMsgId: string) => Promise<boolean>;
  /** Reports what has become of it for users. Default: nobody is told. */
  readonly report?: (
    record: RecallableSend["record"],
    userIds: readonly string[],
    state: "recalled" | "collapsed" | "delivered",
  ) => Promise<void>;
}

/** Up to this many are removed one by one; more at once, which costs the broker a look at all inboxes. */
const maxSingleRemovals = 50;

/** How often what is stored meanwhile is removed. Who stores it ends when it hears of the recall: twice is much. */
const maxRemovals = 10;

/**
 * Recalls a send. Idempotent: a second one, also after the first ended halfway, does what is left to do and answers the
 * same. Once it has resolved, no inbox has the notification, and none gets it: a send that is still under way, on
 * whatever instance, finds its place taken.
 *
 * @param replacedBy the server message id of the send that replaces it. Default: its sender recalls it.
 * @throws NetworkError (90004) when the broker does not answer in time; it is then recalled for some of its recipients.
 */
export async function recall(
  deps: RecallDeps,
  send: RecallableSend,
  operationId: string,
  replacedBy = "",
): Promise<Recalled> {
  const { record, recipients } = send;
  const { serverMsgId, clientMsgId } = record;
  // First, so that whoever has not begun to store it does not.
  const mark = await deps.recalls.mark(serverMsgId, replacedBy);
  if (record.deliverAtMs > 0) await deps.cancelScheduled(serverMsgId);
  await withdraw(deps, send, operationId);

  // Read again: what another call has removed before we looked, it had noted before.
  const findings = await deps.recalls.open(serverMsgId, true);
  if (findings.isAny()) {
    // As it was recalled first: all who do it at the same time write the same.
    const told = { serverMsgId, clientMsgId, replacedByServerMsgId: mark.replacedBy };
    const item = { kind: "recall", recall: create(RecallSchema, told), timeMs: mark.atMs } as const;
    for (const chunk of chunksOf(recipients)) await deps.inbox.writeMany(chunk, item, { operationId });
  }
  const delivered = recipients.filter((userId) => findings.hasAcknowledged(userId));
  const withdrawn = recipients.filter((userId) => !findings.hasAcknowledged(userId));
  if (record.reportKey !== undefined) {
    await deps.report?.(record, withdrawn, toRecallState(mark));
    // Who would find it in the inbox does not any more.
    await deps.report?.(record, delivered, "delivered");
  }
  return { withdrawn: withdrawn.length, delivered: delivered.length };
}

/** Removes it from all inboxes, and takes its place there: as often as it was stored before that was taken. */
async function withdraw(deps: RecallDeps, send: RecallableSend, operationId: string): Promise<void> {
  const { inbox, tombstones, removeEverywhere } = deps;
  const { serverMsgId, sendTime, deliverAtMs } = send.record;
  const notification = { serverMsgId, sendTimeMs: deliverAtMs || sendTime };
  let found = await look(deps, send, (userIds) => inbox.find(userIds, serverMsgId));
  for (let removals = 0; removals < maxRemovals; removals++) {
    if (found.size > maxSingleRemovals) await removeEverywhere(serverMsgId, found);
    else await inbox.remove(found);
    found = await look(deps, send, (userIds) => tombstones.place(userIds, notification, operationId));
    if (found.size === 0) return;
  }
  throw failure("NetworkError", "the notification is still being written into inboxes; recall it again");
}

/** Notes whose devices had acknowledged it before any of it is removed, and returns where it is. */
async function look(
  { recalls, cursors }: RecallDeps,
  { record, recipients }: RecallableSend,
  findIn: (userIds: readonly string[]) => Promise<ReadonlyMap<string, number>>,
): Promise<ReadonlyMap<string, number>> {
  const findings = await recalls.open(record.serverMsgId);
  const everywhere = new Map<string, number>();
  for (const chunk of chunksOf(recipients)) {
    const found = await findIn(chunk);
    if (found.size === 0) continue;
    await note(cursors, findings, found, record);
    for (const [userId, sequence] of found) everywhere.set(userId, sequence);
  }
  return everywhere;
}

async function note(
  cursors: RecallDeps["cursors"],
  findings: RecallFindings,
  found: ReadonlyMap<string, number>,
  addressing: Addressing,
): Promise<void> {
  const acknowledged = new Map<string, readonly string[]>();
  for (const [userId, devices] of await cursors.ofUsers([...found.keys()])) {
    const sequence = found.get(userId) ?? Number.POSITIVE_INFINITY;
    const past = devices.filter((device) => hasGot(device, sequence, addressing)).map(({ deviceId }) => deviceId);
    if (past.length > 0) acknowledged.set(userId, past);
  }
  await findings.add(acknowledged);
}
