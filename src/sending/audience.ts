import type { MembersAt } from "./fan-out.ts";
import type { SendRecord } from "./record.ts";

/** Who a send is for, in the order of their ids; {@link createAudience} makes it. */
export type Audience = (
  record: Pick<SendRecord, "recvUserId" | "recvGroupId" | "groupVersion">,
) => Promise<readonly string[]>;

/** Recipients are looked at this many at a time: as many as one read of the broker answers. */
const maxChunk = 500;

/** Creates the audience: the receiving user, or the members of the group when it was sent. */
export function createAudience(membersAt: MembersAt): Audience {
  return async ({ recvUserId, recvGroupId, groupVersion }) =>
    recvGroupId === "" ? [recvUserId] : (await membersAt(recvGroupId, groupVersion)).toSorted();
}

/** Cuts an audience into parts that one read of the broker answers, so that a group of any size takes little memory. */
export function* chunksOf(recipients: readonly string[]): Generator<readonly string[]> {
  for (let start = 0; start < recipients.length; start += maxChunk) yield recipients.slice(start, start + maxChunk);
}
