import type { ServiceImpl } from "@connectrpc/connect";
import { errorTable, toErrorFacts, toWireError } from "../errors.ts";
import type { MsgService, SendBusinessNotificationRequest } from "../gen/mustreach/msg/v1/msg_pb.ts";
import type { Metrics } from "../observe/metrics.ts";

type Sent = Pick<SendBusinessNotificationRequest, "reliabilityLevel">;

/** Counts what MsgService is asked to send, by level and by what came of it: also each of a batch. */
export function countSends(
  msg: ServiceImpl<typeof MsgService>,
  metrics: Pick<Metrics, "sent">,
): ServiceImpl<typeof MsgService> {
  const count = (request: Sent, errCode: number) => metrics.sent(levelOf(request), resultOf(errCode));
  const countAll = (requests: readonly Sent[], error: unknown) => {
    const { errCode } = toErrorFacts(toWireError(error));
    for (const request of requests) count(request, errCode);
  };
  return {
    ...msg,
    async sendBusinessNotification(request, context) {
      try {
        const response = await msg.sendBusinessNotification(request, context);
        count(request, 0);
        return response;
      } catch (error) {
        countAll([request], error);
        throw error;
      }
    },
    async sendBusinessNotificationBatch(request, context) {
      const { notifications } = request;
      try {
        const response = await msg.sendBusinessNotificationBatch(request, context);
        const codes = (response.results ?? []).map(({ errCode = 0 }) => errCode);
        notifications.forEach((notification, index) => void count(notification, codes[index] ?? 0));
        return response;
      } catch (error) {
        countAll(notifications, error);
        throw error;
      }
    },
  };
}

/** Absent and 0 are 1; what is none is refused, and counted as 1 too. */
function levelOf({ reliabilityLevel }: Sent): 1 | 2 {
  return reliabilityLevel === 2 ? 2 : 1;
}

/** What came of a send: it was refused to its caller, or it could not be done. */
function resultOf(errCode: number): "accepted" | "refused" | "failed" {
  if (errCode === 0) return "accepted";
  const isFault = errCode === errorTable.ServerInternalError.errCode || errCode >= errorTable.NetworkError.errCode;
  return isFault ? "failed" : "refused";
}
