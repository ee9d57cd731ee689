import { toPartition, toToken } from "../broker/subjects.ts";
import { inboxStream } from "../inbox/layout.ts";

/** What sends of one collapse key to one recipient have in common: of them, the newest stays. */
export interface Topic {
  readonly partition: number;
  /** That of the inboxes, so that a full store refuses both. */
  readonly stream: string;
  /** All sends of it that were not replaced yet. */
  readonly filter: string;
  /** Where a send is announced. */
  subject(serverMsgId: string): string;
}

/** Where sends of a collapse key to a recipient are announced; of a user, in the partition of the inbox. */
export function toTopic(
  { recvUserId, recvGroupId, collapseKey }: { recvUserId: string; recvGroupId: string; collapseKey: string },
  partitions: number,
): Topic {
  const token = toToken(recvUserId || recvGroupId);
  const partition = toPartition(token, partitions);
  // `~` is in no token of an id, so that no user is taken for a group.
  const recipient = recvUserId === "" ? `~${token}` : token;
  const prefix = `collapse.${partition}.${recipient}.${toToken(collapseKey)}`;
  return {
    partition,
    stream: inboxStream(partition),
    filter: `${prefix}.*`,
    subject: (serverMsgId) => `${prefix}.${toToken(serverMsgId)}`,
  };
}
