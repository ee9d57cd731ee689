import { type Client, createClient } from "@connectrpc/connect";
import { adminPlatform } from "../auth/platform.ts";
import { toClientError } from "../client/error.ts";
import { createFetchTransport } from "../client/transport.ts";
import { MsgService } from "../gen/mustreach/msg/v1/msg_pb.ts";
import { adminUserId, mintToken, serviceUrl } from "./options.ts";

/** What a command about one notification is given. */
export interface NotificationFlags {
  readonly id: string;
  readonly url?: string;
  readonly token?: string;
}

/** Names a notification in a request; the other id is empty. */
export interface NotificationReference {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
}

const notFoundErrCode = 1004;

/**
 * Calls MsgService about a notification that is named by either of its ids: by the server's if it looks like one, then
 * by the client's, since generated ones look the same.
 */
export async function callAbout<T>(
  { id, url, token }: NotificationFlags,
  call: (
    service: Client<typeof MsgService>,
    reference: NotificationReference,
    options: { headers: { token: string } },
  ) => Promise<T>,
): Promise<T> {
  const service = createClient(MsgService, createFetchTransport(serviceUrl(url)));
  const options = { headers: { token: token ?? (await mintToken(adminUserId(), adminPlatform)) } };
  const callBy = (reference: Partial<NotificationReference>) =>
    call(service, { serverMsgId: "", clientMsgId: "", ...reference }, options);
  try {
    return await callBy(/^[0-9a-f]{32}$/.test(id) ? { serverMsgId: id } : { clientMsgId: id });
  } catch (thrown) {
    const error = toClientError(thrown);
    if (error.errCode !== notFoundErrCode) throw error;
  }
  return callBy({ clientMsgId: id }).catch((thrown: unknown) => {
    throw toClientError(thrown);
  });
}
