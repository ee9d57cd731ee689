import type { FanoutJob } from "../nats/fanout.ts";
import type { Inbox } from "../nats/inbox.ts";
import type { Sends } from "../nats/sends.ts";
import { keyOfClientMsgId } from "./ids.ts";

/** The members of a group at a version. */
export type MembersAt = (groupId: string, version: number) => Promise<readonly string[]>;

/** Members are written this many at a time, so that a recall in between stops the rest. */
const chunkSize = 5_000;

/** Options of {@link createExpand}. */
export interface ExpandOptions {
  readonly inbox: Pick<Inbox, "writeMany">;
  readonly sends: Pick<Sends, "recalledAt">;
  readonly membersAt: MembersAt;
}

/**
 * Creates the expansion of a group send into the inboxes of those who were members when it was sent. A worker that is
 * killed leaves the rest to the next one: copies that are there already are left as they are.
 */
export function createExpand({ inbox, sends, membersAt }: ExpandOptions) {
  return async (job: FanoutJob, signal: AbortSignal): Promise<void> => {
    const { items, groupId, groupVersion, ...options } = job;
    const members = await membersAt(groupId, groupVersion);
    for (let start = 0; start < members.length; start += chunkSize) {
      const chunk = members.slice(start, start + chunkSize);
      for (const item of items) {
        signal.throwIfAborted();
        const isRecalled =
          item.kind === "notification" &&
          (await sends.recalledAt(keyOfClientMsgId(item.notification.clientMsgId))) !== undefined;
        if (!isRecalled) await inbox.writeMany(chunk, item, options);
      }
    }
  };
}
