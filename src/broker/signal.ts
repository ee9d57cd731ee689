import type { Broker } from "./connect.ts";
import { toFailure } from "./faults.ts";
import { untilAnswered } from "./until.ts";

/** A message to whoever listens at the moment; nothing of it is stored or acknowledged. */
export interface Signal {
  readonly subject: string;
  readonly payload: Uint8Array;
  /** The value of a header, or "". */
  header(name: string): string;
}

/** Tells whoever listens. It may be lost, and is while there is no connection. */
export function tell(broker: Broker, subject: string, payload?: string): void {
  if (!broker.nc.isClosed()) broker.nc.publish(subject, payload);
}

/**
 * Tells whoever listens, once there is a connection; what is told in one turn of the event loop goes out in one write.
 *
 * @throws NetworkError (90004) when there is none at `deadlineMs` (epoch milliseconds), ArgsError (1001) for a payload
 * that is larger than the broker takes.
 */
export async function push(broker: Broker, subject: string, payload: Uint8Array, deadlineMs: number): Promise<void> {
  await broker.whenConnected(deadlineMs);
  await endOfTurn();
  try {
    broker.nc.publish(subject, payload);
  } catch (error) {
    throw toFailure(error);
  }
}

let turn: Promise<void> | undefined;

/** Resolves for all who wait in this turn of the event loop at once, in their order. */
function endOfTurn(): Promise<void> {
  turn ??= new Promise((resolve) => {
    setImmediate(() => {
      turn = undefined;
      resolve();
    });
  });
  return turn;
}

/** Listens, over reconnects as well, and returns how to stop. */
export function listen(broker: Broker, subject: string, onSignal: (signal: Signal) => void): () => void {
  const subscription = broker.nc.subscribe(subject, {
    callback(error, { subject, data, headers }) {
      if (error === null) onSignal({ subject, payload: data, header: (name) => headers?.get(name) ?? "" });
    },
  });
  return () => subscription.unsubscribe();
}

/**
 * Resolves when the broker knows who listens: nothing that is told from then on is missed.
 *
 * @throws NetworkError (90004) when it does not answer by `deadlineMs` (epoch milliseconds).
 */
export function whenListening(broker: Broker, deadlineMs: number): Promise<void> {
  return untilAnswered(broker, deadlineMs, () => broker.nc.flush());
}
