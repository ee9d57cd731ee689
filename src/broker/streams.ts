import type { StreamState } from "@nats-io/jetstream";
import type { Broker } from "./connect.ts";
import { toFailure } from "./faults.ts";

/**
 * Creates a reader of streams' states. Those who ask at the same time share an answer: it is dear for the broker.
 *
 * @throws NetworkError (90004) when the broker does not answer in time.
 */
export function createStreamState(broker: Broker): (stream: string) => Promise<StreamState> {
  const asking = new Map<string, Promise<StreamState>>();
  const ask = async (stream: string): Promise<StreamState> => {
    await broker.whenConnected(Date.now() + 1_000);
    // Who asks from now on gets an answer of its own.
    asking.delete(stream);
    try {
      return (await broker.jsm.streams.info(stream)).state;
    } catch (cause) {
      throw toFailure(cause);
    }
  };
  return (stream) => {
    let answer = asking.get(stream);
    if (answer === undefined) {
      // In a turn of its own, so that all who ask in this one share it.
      answer = Promise.resolve().then(() => ask(stream));
      asking.set(stream, answer);
    }
    return answer;
  };
}
