import { isMessage, type Message } from "@bufbuild/protobuf";
import { wrongField } from "../errors.ts";
import { SendBusinessNotificationRequestSchema } from "../gen/mustreach/msg/v1/msg_pb.ts";

/** Of draft-ietf-httpapi-idempotency-key-header. Its value is a key in quotes (RFC 8941) or, as most send it, bare. */
const header = "idempotency-key";

/**
 * Takes the `clientMsgID` of a send from the header `Idempotency-Key`, or the metadata of that name, when the message
 * has none.
 *
 * @throws ArgsError (1001) when both are there and differ.
 */
export function takeIdempotencyKey(message: Message, headers: Headers): void {
  if (!isMessage(message, SendBusinessNotificationRequestSchema)) return;
  const key = headers.get(header)?.replace(/^"(.*)"$/, "$1") || message.clientMsgId;
  if (message.clientMsgId !== "" && message.clientMsgId !== key) {
    throw wrongField("clientMsgID", "clientMsgID and the header Idempotency-Key differ");
  }
  message.clientMsgId = key;
}
