import type { BaseLogger } from "pino";
import { type ErrorFacts, errorTable, failure, retryAfterMsOf, toErrorFacts, wrongField } from "../errors.ts";
import type { SendBusinessNotificationRequest } from "../gen/mustreach/msg/v1/msg_pb.ts";
import type { Unit, UnitStored } from "../publishing/in-order.ts";
import type { AllowSend } from "../senders/rules.ts";
import type { Accepted, Begun, Send } from "./send.ts";
import { type SendLimits, type ValidSend, validateSend } from "./validate.ts";

/** What came of one notification of a batch. */
export type SendOutcome =
  | { readonly kind: "accepted"; readonly accepted: Accepted }
  | { readonly kind: "refused"; readonly facts: ErrorFacts };

export interface SendBatchDeps {
  readonly send: Send;
  /** Lays a send out that can be stored together with others; undefined for any other. */
  readonly begin: (request: ValidSend, operationId: string) => Begun | undefined;
  /** Stores what was laid out, in its order and in few writes. */
  readonly storeInOrder: (units: readonly Unit[]) => Promise<readonly UnitStored[]>;
  readonly limits: SendLimits;
  readonly allow: AllowSend;
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

/** One notification of a batch. */
interface Element {
  readonly index: number;
  readonly valid: ValidSend;
  /** Undefined for one that is sent alone. */
  readonly begun: Begun | undefined;
  /** What came of it together with others, where that is known. */
  done?: Promise<Accepted>;
}

/**
 * Sends notifications, each with an outcome of its own, in their order: what goes to one recipient is sent one after the
 * other, different recipients at the same time. Those that can be are stored together, before the others: to each
 * recipient as far as the first that cannot.
 */
export async function sendBatch(
  { send, begin, storeInOrder, limits, allow, log }: SendBatchDeps,
  requests: readonly SendBusinessNotificationRequest[],
  operationId: string,
): Promise<SendOutcome[]> {
  const refuse = (error: unknown): SendOutcome => {
    const facts = toErrorFacts(error);
    if (facts.errCode === errorTable.ServerInternalError.errCode) log.error({ err: error }, "a send of a batch failed");
    return { kind: "refused", facts };
  };

  const outcomes: SendOutcome[] = [];
  const elements: Element[] = [];
  const chains = new Map<string, Element[]>();
  const ids = new Set<string>();
  for (const [index, request] of requests.entries()) {
    try {
      const valid = validateSend(request, limits);
      allow(valid);
      const { recvUserId, recvGroupId, recvUserIds, clientMsgId } = valid;
      const recipient = JSON.stringify([recvUserId, recvGroupId, ...recvUserIds]);
      const chain = chains.get(recipient);
      const last = chain?.at(-1);
      const isTogether = (last === undefined || last.begun !== undefined) && !ids.has(clientMsgId);
      const element: Element = { index, valid, begun: isTogether ? begin(valid, operationId) : undefined };
      elements.push(element);
      if (clientMsgId !== "") ids.add(clientMsgId);
      if (chain === undefined) chains.set(recipient, [element]);
      else chain.push(element);
    } catch (error) {
      outcomes[index] = refuse(error);
    }
  }

  await storeTogether(elements, storeInOrder);

  const remaining = chains.values();
  const worker = async () => {
    for (const chain of remaining) {
      let brokenBy: number | undefined;
      for (const { index, valid, begun, done } of chain) {
        if (brokenBy !== undefined && done === undefined) {
          const errDlt = `not tried: an earlier one to the same recipient failed with ${brokenBy}`;
          outcomes[index] = refuse(failure("NetworkError", errDlt));
          continue;
        }
        const sending = done ?? begun?.alone() ?? send(valid, operationId);
        outcomes[index] = await sending.then(toOutcome, (error: unknown) => {
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

/** Stores what was begun; what is not done then is sent alone. */
async function storeTogether(elements: readonly Element[], storeInOrder: SendBatchDeps["storeInOrder"]): Promise<void> {
  const together = elements.flatMap((element) => (element.begun ? [{ element, begun: element.begun }] : []));
  const outcomes = await storeInOrder(together.map(({ begun }) => begun.unit));
  for (const [nth, { element, begun }] of together.entries()) {
    const outcome = outcomes[nth];
    if (outcome?.kind === "stored") element.done = begun.stored(outcome.sequence);
    else if (outcome?.kind === "failed") element.done = Promise.reject(outcome.error);
    // It is waited for later.
    element.done?.catch(() => {});
  }
}

function toOutcome(accepted: Accepted): SendOutcome {
  return { kind: "accepted", accepted };
}
