import { create } from "@bufbuild/protobuf";
import { RecallSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Cursors } from "../nats/cursors.ts";
import type { Inbox } from "../nats/inbox.ts";
import type { RecallFindings } from "../nats/recalls.ts";

/** A recall under way. */
export interface Withdrawal {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
  /** When it was first recalled, in epoch milliseconds. */
  readonly recalledAtMs: number;
  readonly findings: RecallFindings;
  readonly operationId: string;
}

/** Takes a notification out of the inboxes of some recipients; {@link createWithdraw} makes it. */
export type Withdraw = (withdrawal: Withdrawal, userIds: readonly string[]) => Promise<void>;

/**
 * Creates the withdrawal: what is found is noted, then removed, then the users of whom it was found are told by a recall
 * event. Doing it again completes what was not done, and changes nothing else.
 *
 * Throws NetworkError (90004) when the broker did not acknowledge in time.
 */
export function createWithdraw(
  inbox: Pick<Inbox, "find" | "remove" | "writeMany">,
  cursors: Pick<Cursors, "ofUsers">,
): Withdraw {
  return async ({ serverMsgId, clientMsgId, recalledAtMs, findings, operationId }, userIds) => {
    const found = await inbox.find(userIds, clientMsgId);
    const fresh = [...found].filter(([userId]) => !findings.isHolder(userId));
    if (fresh.length > 0) {
      const devices = await cursors.ofUsers(fresh.map(([userId]) => userId));
      const acknowledged = fresh.map(([userId, sequence]) => {
        const past = devices.get(userId)?.filter((device) => device.sequence >= sequence) ?? [];
        return [userId, past.map(({ deviceId }) => deviceId)] as const;
      });
      await findings.add(new Map(acknowledged));
    }
    await inbox.remove(found);
    const holders = userIds.filter((userId) => findings.isHolder(userId));
    if (holders.length === 0) return;
    const recall = create(RecallSchema, { serverMsgId, clientMsgId });
    await inbox.writeMany(holders, { kind: "recall", recall, timeMs: recalledAtMs }, { operationId });
  };
}
