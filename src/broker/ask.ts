import {
  ClosedConnectionError,
  createInbox,
  type Msg,
  type NatsConnection,
  NoRespondersError,
  PermissionViolationError,
  TimeoutError,
} from "@nats-io/transport-node";
import { atEndOfTurn } from "../end-of-turn.ts";
import { type Message, sendMessages } from "./messages.ts";

/**
 * Sends messages, and asks whoever serves the subject of the last.
 *
 * @throws what the client library's own request does: when there is no answer in time, nobody serves it, it may not be
 * asked, or the connection is closed.
 */
export type Ask = (messages: readonly Message[], timeoutMs: number) => Promise<Msg>;

interface Question {
  readonly subject: string;
  resolve(answer: Msg): void;
  reject(error: Error): void;
}

/**
 * Creates questions over one reply subscription of a connection. The client library's own request makes up to three
 * errors, with their stacks, for the case that it fails: after the system call, these were its dearest part.
 *
 * @returns how to ask, and whom to tell of what the broker complains about.
 */
export function createAsk(nc: NatsConnection): { readonly ask: Ask; complain(error: Error): void } {
  const prefix = `${createInbox()}.`;
  const open = new Map<string, Question>();
  let last = 0;

  nc.subscribe(`${prefix}*`, {
    callback(error, answer) {
      if (error !== null) return;
      const question = open.get(answer.subject.slice(prefix.length));
      const isServed = answer.data.length > 0 || answer.headers?.code !== 503;
      if (isServed) question?.resolve(answer);
      else question?.reject(new NoRespondersError(question.subject));
    },
  });
  const failAll = (error: Error) => {
    for (const { reject } of [...open.values()]) reject(error);
  };
  void nc.closed().then(() => failAll(new ClosedConnectionError()));

  return {
    ask: (messages, timeoutMs) =>
      new Promise((resolve, reject) => {
        const token = String(++last);
        const end = () => {
          clearTimeout(timer);
          open.delete(token);
        };
        const question: Question = {
          subject: messages.at(-1)?.subject ?? "",
          resolve(answer) {
            end();
            resolve(answer);
          },
          reject(error) {
            end();
            reject(error);
          },
        };
        const timer = setTimeout(() => question.reject(new TimeoutError()), timeoutMs);
        open.set(token, question);
        const send = () => {
          if (!open.has(token)) return;
          try {
            sendMessages(nc, messages, prefix + token);
          } catch (error) {
            end();
            reject(error);
          }
        };
        // Many fill a write by themselves.
        if (messages.length > 1) send();
        else atEndOfTurn(send);
      }),
    complain(error) {
      if (!(error instanceof PermissionViolationError)) return;
      if (error.operation === "subscription" && error.subject === `${prefix}*`) failAll(error);
      else for (const { subject, reject } of [...open.values()]) if (subject === error.subject) reject(error);
    },
  };
}
