import { isMessage } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import { failure } from "../errors.ts";
import { SendBusinessNotificationRequestSchema } from "../gen/mustreach/msg/v1/msg_pb.ts";

/** Of draft-ietf-httpapi-idempotency-key-header. Its value is a key in quotes (RFC 8941) or, as most send it, bare. */
const header = "idempotency-key";

/**
 * Takes the `clientMsgID` of a send from the header `Idempotency-Key`, or the metadata of that name, when the message
 * has none.
 *
 * The result throws ArgsError (1001) when both are there and differ.
 */
export const takeIdempotencyKey: Interceptor = (next) => (request) => {
  const { message } = request;
  if (!isMessage(message, SendBusinessNotificationRequestSchema)) return next(request);
  const key = request.header.get(header)?.replace(/^"(.*)"$/, "$1") || message.clientMsgId;
  if (message.clientMsgId !== "" && message.clientMsgId !== key) {
    const errDlt = "clientMsgID and the header Idempotency-Key differ";
    throw failure("ArgsError", errDlt, undefined, { field: "clientMsgID" });
  }
  message.clientMsgId = key;
  return next(request);
};
