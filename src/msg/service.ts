import type { ServiceImpl } from "@connectrpc/connect";
import { requireAdmin } from "../auth/caller.ts";
import type { MsgService } from "../gen/mustreach/msg/v1/msg_pb.ts";
import { operationIdKey } from "../observe/operation-id.ts";
import type { Send } from "./send.ts";
import { type SendLimits, validateSend } from "./validate.ts";

/** Creates the implementation of MsgService, which only translates. */
export function createMsgService(send: Send, limits: SendLimits): Partial<ServiceImpl<typeof MsgService>> {
  return {
    async sendBusinessNotification(request, context) {
      // OpenIM's order: the body is checked before the caller's right to send.
      const valid = validateSend(request, limits);
      requireAdmin(context, "only app manager can send message");
      const accepted = await send(valid, context.values.get(operationIdKey));
      return { ...accepted, sendTime: BigInt(accepted.sendTime) };
    },
  };
}
