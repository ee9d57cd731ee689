import { ConfigError } from "../config.ts";
import { type ErrorName, errorTable, failure, retryAfterMsOf, toErrorFacts } from "../errors.ts";

/** What can be asked of one end of a link: an argument, and what it is answered with. */
// biome-ignore lint/suspicious/noConfusingVoidType: a handler that answers nothing
type Calls<T> = { readonly [K in keyof T]: (argument: never) => unknown | Promise<unknown> | void };

type ArgumentOf<F> = F extends (argument: infer A) => unknown ? A : never;
type AnswerOf<F> = F extends (argument: never) => infer R ? Awaited<R> : never;

/** The channel of a process to its parent or to a child, as Node has it: nobody else can read or write it. */
export interface Endpoint {
  send?: ((message: object, callback: (error: Error | null) => void) => boolean) | undefined;
  on(event: "message", listener: (message: unknown) => void): unknown;
  on(event: "disconnect", listener: () => void): unknown;
}

/** Asks the process at the other end. */
export interface Link<Peer> {
  /** Rejects with the error that it was answered with, or {@link LinkLostError}. */
  ask<K extends keyof Peer & string>(name: K, argument: ArgumentOf<Peer[K]>): Promise<AnswerOf<Peer[K]>>;
}

/** The process at the other end has ended, or will. */
export class LinkLostError extends Error {
  override name = "LinkLostError";
}

type Message =
  | { readonly ask: number; readonly name: string; readonly argument: never }
  | { readonly answer: number; readonly value: unknown }
  | { readonly answer: number; readonly error: SentError };

/** An error as it is sent: one for a caller by its row of the table, any other by its message. */
type SentError =
  | { readonly row: ErrorName; readonly errDlt: string; readonly retryAfterMs: number | undefined }
  | { readonly isConfigError: boolean; readonly message: string };

/** Creates one end of a link: answers what the other asks, in the order in which the answers are there. */
export function createLink<Mine extends Calls<Mine>, Peer>(endpoint: Endpoint, calls: Mine): Link<Peer> {
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  let lastId = 0;
  let isLost = false;

  const send = (message: Message, onError: () => void = () => {}): void => {
    if (isLost || endpoint.send === undefined) onError();
    else endpoint.send(message, (error) => error !== null && onError());
  };

  const answer = async ({ ask, name, argument }: Extract<Message, { ask: number }>): Promise<void> => {
    try {
      if (!isNameOf(calls, name)) throw new Error(`there is nothing to ask by the name ${name}`);
      send({ answer: ask, value: await calls[name](argument) });
    } catch (error) {
      send({ answer: ask, error: toSent(error) });
    }
  };

  endpoint.on("message", (received) => {
    // Of our own other half.
    const message = received as Message;
    if ("ask" in message) return void answer(message);
    const asked = waiting.get(message.answer);
    waiting.delete(message.answer);
    if ("error" in message) asked?.reject(fromSent(message.error));
    else asked?.resolve(message.value);
  });
  endpoint.on("disconnect", () => {
    isLost = true;
    for (const asked of waiting.values()) asked.reject(lost());
    waiting.clear();
  });

  return {
    ask(name, argument) {
      const id = ++lastId;
      const asked = Promise.withResolvers<unknown>();
      waiting.set(id, asked);
      send({ ask: id, name, argument: argument as never }, () => {
        waiting.delete(id);
        asked.reject(lost());
      });
      return asked.promise as Promise<never>;
    },
  };
}

function isNameOf<T extends object>(calls: T, name: string): name is keyof T & string {
  return Object.hasOwn(calls, name);
}

function lost(): LinkLostError {
  return new LinkLostError("the process at the other end has ended");
}

function toSent(error: unknown): SentError {
  const { errMsg, errDlt } = toErrorFacts(error);
  if (errMsg !== "ServerInternalError" && isNameOf(errorTable, errMsg)) {
    return { row: errMsg, errDlt, retryAfterMs: retryAfterMsOf(error) };
  }
  return {
    isConfigError: error instanceof ConfigError,
    message: error instanceof Error ? error.message : String(error),
  };
}

function fromSent(sent: SentError): Error {
  if ("row" in sent) {
    const { row, errDlt, retryAfterMs } = sent;
    return failure(row, errDlt, undefined, retryAfterMs === undefined ? {} : { retryAfterMs });
  }
  return sent.isConfigError ? new ConfigError(sent.message) : new Error(sent.message);
}
