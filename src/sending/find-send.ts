import { failure, wrongField } from "../errors.ts";
import { maxClientMsgIdBytes, requireId } from "../limits.ts";
import type { MembersAt } from "./fan-out.ts";
import { keyOfClientMsgId, keyOfServerMsgId } from "./ids.ts";
import type { SendRecord, Sends } from "./record.ts";

/** Names a send by one of its ids; the other is empty. */
export interface SendReference {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
}

/** A must-reach send that was accepted. */
export interface FoundSend {
  readonly record: SendRecord;
  /** In the order of their ids. */
  readonly recipients: readonly string[];
}

export interface FindSendDeps {
  readonly sends: Pick<Sends, "find">;
  readonly membersAt: MembersAt;
}

/**
 * Returns the reference of a request.
 *
 * @throws ArgsError (1001) for none, two, or one that cannot be an id.
 */
export function requireReference({ serverMsgId, clientMsgId }: SendReference): SendReference {
  if ((serverMsgId === "") === (clientMsgId === "")) {
    throw wrongField("serverMsgID", "exactly one of serverMsgID and clientMsgID must be set");
  }
  if (clientMsgId !== "") requireId(clientMsgId, "clientMsgID", maxClientMsgIdBytes);
  // What it leads to becomes a part of a subject.
  else if (!/^[0-9a-f]{32}$/.test(serverMsgId)) {
    throw wrongField("serverMsgID", "serverMsgID must be 32 lower-case hex digits");
  }
  return { serverMsgId, clientMsgId };
}

/**
 * Finds a must-reach send.
 *
 * @throws RecordNotFoundError (1004) for one that is not known or no longer retained, and for an online push: nothing of
 * it is kept. NetworkError (90004) when the broker does not answer in time.
 */
export async function findSend(deps: FindSendDeps, { serverMsgId, clientMsgId }: SendReference): Promise<FoundSend> {
  const key = serverMsgId === "" ? keyOfClientMsgId(clientMsgId) : keyOfServerMsgId(serverMsgId);
  const record = await deps.sends.find(key);
  // A key does not have all of an id.
  const isIt = serverMsgId === "" ? record?.clientMsgId === clientMsgId : record?.serverMsgId === serverMsgId;
  if (record === undefined || !isIt || !record.mustReach) {
    throw failure("RecordNotFoundError", "no must-reach notification with this id is known");
  }
  return { record, recipients: await recipientsOf(deps.membersAt, record) };
}

/** Who a send is for, in the order of their ids: the receiving user, or the members of the group when it was sent. */
export async function recipientsOf(
  membersAt: MembersAt,
  { recvUserId, recvGroupId, groupVersion }: Pick<SendRecord, "recvUserId" | "recvGroupId" | "groupVersion">,
): Promise<readonly string[]> {
  return recvGroupId === "" ? [recvUserId] : (await membersAt(recvGroupId, groupVersion)).toSorted();
}
