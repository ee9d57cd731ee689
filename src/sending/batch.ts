import type { BaseLogger } from "pino";
import { type ErrorFacts, errorTable, failure, retryAfterMsOf, toErrorFacts, wrongField } from "../errors.ts";
import type { SendBusinessNotificationRequest } from "../gen/mustreach/msg/v1/msg_pb.ts";
import type { Accepted, Send } from "./send.ts";
import { type SendLimits, type ValidSend, validateSend } from "./validate.ts";

/** What came of one notification of a batch. */
export type SendOutcome =
  | { readonly kind: "accepted"; readonly accepted: Accepted }
  | { readonly kind: "refused"; readonly facts: ErrorFacts };

export interface SendBatchDeps {
  readonly send: Send;
  readonly limits: SendLimits;
  readonly log: Pick<BaseLogger, "error">;
}

const maxNotifications = 1_000;

/** Recipients that are sent to at a time. */
const maxConcurrency = 64;

/**
 * Returns the notifications of a batch.
 *
 * @throws ArgsError (1001) for none or too many.
 */
export function requireBatch<T>(notifications: readonly T[]): readonly T[] {
  if (notifications.length < 1 || notifications.length > maxNotifications) {
    throw wrongField("notifications", `notifications must hold 1 to ${maxNotifications}, not ${notifications.length}`);
  }
  return notifications;
}

/**
 * Sends notifications, each with an outcome of its own, in their order: what goes to one recipient is sent one after the
 * other, different recipients at the same time.
 */
export async function sendBatch(
  { send, limits, log }: SendBatchDeps,
  requests: readonly SendBusinessNotificationRequest[],
  operationId: string,
): Promise<SendOutcome[]> {
  const refuse = (error: unknown): SendOutcome => {
    const facts = toErrorFacts(error);
    if (facts.errCode === errorTable.ServerInternalError.errCode) log.error({ err: error }, "a send of a batch failed");
    return { kind: "refused", facts };
  };

  const outcomes: SendOutcome[] = [];
  const chains = new Map<string, { index: number; valid: ValidSend }[]>();
  for (const [index, request] of requests.entries()) {
    try {
      const valid = validateSend(request, limits);
      const recipient = JSON.stringify([valid.recvUserId, valid.recvGroupId]);
      const chain = chains.get(recipient);
      if (chain === undefined) chains.set(recipient, [{ index, valid }]);
      else chain.push({ index, valid });
    } catch (error) {
      outcomes[index] = refuse(error);
    }
  }

  const remaining = chains.values();
  const worker = async () => {
    for (const chain of remaining) {
      let brokenBy: number | undefined;
      for (const { index, valid } of chain) {
        if (brokenBy !== undefined) {
          const errDlt = `not tried: an earlier one to the same recipient failed with ${brokenBy}`;
          outcomes[index] = refuse(failure("NetworkError", errDlt));
          continue;
        }
        outcomes[index] = await send(valid, operationId).then(toOutcome, (error: unknown) => {
          // It may be stored or not. What follows waits for the caller's next try, so as not to overtake it.
          if (retryAfterMsOf(error) !== undefined) brokenBy = toErrorFacts(error).errCode;
          return refuse(error);
        });
      }
    }
  };
  await Promise.all(Array.from({ length: maxConcurrency }, worker));
  return outcomes;
}

function toOutcome(accepted: Accepted): SendOutcome {
  return { kind: "accepted", accepted };
}
