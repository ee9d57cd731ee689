import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { SendAdmission } from "../admission/admit-sends.ts";
import type { Quota } from "../admission/quota.ts";
import { requireAdmin, requireCaller } from "../auth/caller.ts";
import type { ChatDeps } from "../chat/access.ts";
import { getConversations } from "../chat/get-conversations.ts";
import { markConversationAsRead } from "../chat/mark-as-read.ts";
import { pullMessages } from "../chat/pull-messages.ts";
import type { MsgService, SendBusinessNotificationRequest } from "../gen/mustreach/msg/v1/msg_pb.ts";
import { operationIdKey } from "../observe/operation-id.ts";
import { type RecallDeps, recall } from "../recalling/recall.ts";
import type { SendRules } from "../senders/rules.ts";
import { requireBatch, type SendBatchDeps, type SendOutcome, sendBatch } from "./batch.ts";
import { findToRecall, requireReference } from "./find-send.ts";
import { type Accepted, begin, type SendDeps, send } from "./send.ts";
import { type DeliveryStatusDeps, getDeliveryStatus, requireStatusQuery } from "./status.ts";
import { validateSend } from "./validate.ts";

export interface MsgServiceDeps extends Omit<SendBatchDeps, "send" | "begin" | "allow"> {
  readonly sending: SendDeps;
  readonly sendRules: SendRules;
  /** For what is asked about a send later. */
  readonly tracking: DeliveryStatusDeps & RecallDeps & Parameters<typeof findToRecall>[0];
  readonly conversations: ChatDeps;
  readonly admission: Pick<SendAdmission, "admit">;
  /** Undefined: there is none. */
  readonly quota: Quota | undefined;
}

/**
 * Creates the implementation of MsgService, which only translates. In OpenIM's order: the body is checked before the
 * caller's right to send.
 */
export function createMsgService(deps: MsgServiceDeps): ServiceImpl<typeof MsgService> {
  const { limits, sending, sendRules, tracking } = deps;
  return {
    async sendBusinessNotification(request, context) {
      const valid = validateSend(request, limits);
      sendRules(requireAdmin(context))(valid);
      const operationId = context.values.get(operationIdKey);
      return toResponse(await admitted(deps, context, [request], () => send(sending, valid, operationId)));
    },
    async sendBusinessNotificationBatch(request, context) {
      const notifications = requireBatch(request.notifications);
      const allow = sendRules(requireAdmin(context));
      const batch: SendBatchDeps = {
        ...deps,
        allow,
        send: (request, operationId) => send(sending, request, operationId),
        begin: (request, operationId) => begin(sending, request, operationId),
      };
      const operationId = context.values.get(operationIdKey);
      const outcomes = await admitted(deps, context, notifications, () => sendBatch(batch, notifications, operationId));
      return { results: outcomes.map(toResult) };
    },
    async getDeliveryStatus(request, context) {
      const query = requireStatusQuery(request);
      requireAdmin(context);
      const { sendTime, recipients, ...status } = await getDeliveryStatus(tracking, query);
      return {
        ...status,
        sendTime: BigInt(sendTime),
        recipients: recipients.map(({ devices, ...recipient }) => ({
          ...recipient,
          devices: devices.map((device) => ({ ...device, acknowledgedTime: BigInt(device.acknowledgedTime) })),
        })),
      };
    },
    async recallBusinessNotification(request, context) {
      const reference = requireReference(request);
      requireAdmin(context);
      return recall(tracking, await findToRecall(tracking, reference), context.values.get(operationIdKey));
    },
    async pullMessages(request, context) {
      const { messages, isEnd } = await pullMessages(deps.conversations, requireCaller(context), request);
      return { messages: [...messages], isEnd };
    },
    async getConversations(_request, context) {
      const conversations = await getConversations(deps.conversations, requireCaller(context));
      return {
        conversations: conversations.map(({ parties: _, ...conversation }) => ({
          ...conversation,
          maxSeq: BigInt(conversation.maxSeq),
          hasReadSeq: BigInt(conversation.hasReadSeq),
          maxSeqTime: BigInt(conversation.maxSeqTime),
        })),
      };
    },
    async markConversationAsRead(request, context) {
      await markConversationAsRead(deps.conversations, requireCaller(context), request);
      return {};
    },
  };
}

/** So many notifications of a batch cost what one sent alone does: they share writes, and a call. */
const perWrite = 8;

/**
 * Sends what an admin asks for, if there is room for it and no quota is over.
 *
 * @throws NoPermissionError (1002) for anybody else, TooManyRequestsError (429) for what is not admitted.
 */
function admitted<T>(
  { admission, quota }: Pick<MsgServiceDeps, "admission" | "quota">,
  context: HandlerContext,
  requests: readonly SendBusinessNotificationRequest[],
  sendAll: () => Promise<T>,
): Promise<T> {
  const { userId: callerId } = requireAdmin(context);
  const isMeasured = requests.length === 1 && requests[0]?.reliabilityLevel === 2;
  const withinQuota = async () => {
    await quota?.take({ callerId, recipients: requests.map(toRecipients) });
    return sendAll();
  };
  const ask = { callerId, count: Math.ceil(requests.length / perWrite), isMeasured };
  return admission.admit(ask, quota === undefined ? sendAll : withinQuota);
}

function toRecipients({ recvUserId, recvGroupId, recvUserIds }: SendBusinessNotificationRequest): string[] {
  if (recvGroupId !== "") return [`g:${recvGroupId}`];
  return (recvUserId === "" ? [...new Set(recvUserIds)] : [recvUserId]).map((userId) => `u:${userId}`);
}

function toResponse(accepted: Accepted) {
  return { ...accepted, sendTime: BigInt(accepted.sendTime) };
}

function toResult(outcome: SendOutcome) {
  return outcome.kind === "accepted" ? { data: toResponse(outcome.accepted) } : outcome.facts;
}
