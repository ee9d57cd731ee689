import { failure, wrongField } from "../errors.ts";
import { maxClientMsgIdBytes, requireId } from "../limits.ts";
import type { MembersAt } from "./fan-out.ts";
import type { SendRecord, SendReference, Sends } from "./record.ts";

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
export async function findSend(deps: FindSendDeps, reference: SendReference): Promise<FoundSend> {
  const record = await deps.sends.find(reference);
  if (record === undefined || !record.mustReach) {
    throw failure("RecordNotFoundError", "no must-reach notification with this id is known");
  }
  return { record, recipients: await recipientsOf(deps.membersAt, record) };
}

/**
 * Finds a must-reach send that is to be recalled. From then on it has a record, whatever becomes of its notification.
 *
 * @throws as {@link findSend}, and StoreFullError (90101) when the broker has no space for the record.
 */
export async function findToRecall(
  deps: FindSendDeps & { readonly sends: Pick<Sends, "keep"> },
  reference: SendReference,
): Promise<FoundSend> {
  const found = await findSend(deps, reference);
  await deps.sends.keep(found.record);
  return found;
}

/** Who a send is for, in the order of their ids: the receiving users, or the members of the group when it was sent. */
export async function recipientsOf(
  membersAt: MembersAt,
  send: Pick<SendRecord, "recvUserId" | "recvGroupId" | "recvUserIds" | "groupVersion">,
): Promise<readonly string[]> {
  const { recvUserId, recvGroupId, recvUserIds, groupVersion } = send;
  if (recvUserIds.length > 0) return recvUserIds;
  return recvGroupId === "" ? [recvUserId] : (await membersAt(recvGroupId, groupVersion)).toSorted();
}
