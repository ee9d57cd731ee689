import { errorTable, toErrorFacts } from "../errors.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { FanoutJob } from "./fan-out-queue.ts";
import type { Sends } from "./record.ts";

/** The members of a group at a version. */
export type MembersAt = (groupId: string, version: number) => Promise<readonly string[]>;

/** Members are written this many at a time, so that a recall in between stops the rest. */
const chunkSize = 5_000;

export interface ExpandOptions {
  readonly inbox: Pick<Inbox, "writeMany">;
  readonly sends: Pick<Sends, "recalledAt">;
  readonly membersAt: MembersAt;
  /** Recalls again a send that was recalled while it was being expanded. */
  readonly recallAgain: (serverMsgId: string, operationId: string) => Promise<void>;
}

/**
 * Creates the expansion of a group send into the inboxes of those who were members when it was sent. A worker that is
 * killed leaves the rest to the next one: copies that are there already are left as they are.
 */
export function createExpand({ inbox, sends, membersAt, recallAgain }: ExpandOptions) {
  return async (job: FanoutJob, signal: AbortSignal): Promise<void> => {
    const { items, groupId, groupVersion, ...options } = job;
    const members = await membersAt(groupId, groupVersion);
    for (const item of items) {
      const { serverMsgId } = item.kind === "notification" ? item.notification : noId;
      const isRecalled = async () => serverMsgId !== "" && (await sends.recalledAt(serverMsgId)) !== undefined;
      for (let start = 0; start < members.length && !(await isRecalled()); start += chunkSize) {
        signal.throwIfAborted();
        await inbox.writeMany(members.slice(start, start + chunkSize), item, options);
      }
      // It may have ended halfway.
      if (await isRecalled()) await recallAgain(serverMsgId, job.operationId).catch(unlessGone);
    }
  };
}

/** The mark of a recall may outlive the record of its send: then nothing is left that could be recalled. */
function unlessGone(error: unknown): void {
  if (toErrorFacts(error).errCode !== errorTable.RecordNotFoundError.errCode) throw error;
}

/** Only notifications are recalled. */
const noId = { serverMsgId: "" };
