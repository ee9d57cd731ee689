import type { Client } from "@connectrpc/connect";
import { fromConnectError } from "../../client/connect/error.ts";
import { MsgService } from "../../gen/mustreach/msg/v1/msg_pb.ts";
import { type AdminFlags, type AdminService, openAdminService } from "./admin.ts";

/** What a command about one notification is given. */
export interface NotificationFlags extends AdminFlags {
  readonly id: string;
}

/** Names a notification in a request; the other id is empty. */
interface NotificationReference {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
}

const notFoundErrCode = 1004;

/**
 * Calls MsgService about a notification that is named by either of its ids: by the server's if it looks like one, then
 * by the client's, since generated ones look the same.
 */
export async function callAbout<T>(
  { id, ...flags }: NotificationFlags,
  call: (
    service: Client<typeof MsgService>,
    reference: NotificationReference,
    options: AdminService<typeof MsgService>["options"],
  ) => Promise<T>,
): Promise<T> {
  const { service, options } = await openAdminService(MsgService, flags);
  const callBy = (reference: Partial<NotificationReference>) =>
    call(service, { serverMsgId: "", clientMsgId: "", ...reference }, options);
  try {
    return await callBy(/^[0-9a-f]{32}$/.test(id) ? { serverMsgId: id } : { clientMsgId: id });
  } catch (thrown) {
    if (fromConnectError(thrown).errCode !== notFoundErrCode) throw thrown;
  }
  return callBy({ clientMsgId: id });
}
