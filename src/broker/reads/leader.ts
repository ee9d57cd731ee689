import type { StreamState } from "@nats-io/jetstream";
import { deadlineIn } from "../../deadline.ts";
import type { Broker } from "../connect.ts";
import { untilAnswered } from "../until.ts";
import type { DirectGet, DirectMessage } from "./direct-get.ts";

/**
 * The last message that matches, or the one of a sequence, as the leader of its stream has it: a direct get may be
 * answered by a replica that does not have the last change yet.
 *
 * @throws what the client library throws: when the broker does not answer, or has no such stream.
 */
export async function askLeader(
  broker: Broker,
  stream: string,
  which: { readonly last: string } | { readonly sequence: number },
): Promise<DirectMessage | undefined> {
  const query = "last" in which ? { last_by_subj: which.last } : { seq: which.sequence };
  const message = await broker.jsm.streams.getMessage(stream, query);
  if (message === null) return undefined;
  const { subject, seq: sequence, data: payload } = message;
  return { subject, sequence, payload, timeMs: message.time.getTime(), header: (name) => message.header.get(name) };
}

/**
 * As {@link askLeader}, but from any replica that has it: only that it is not there is asked of the leader.
 *
 * @throws NetworkError (90004) when the broker does not answer in time.
 */
export async function findSurely(
  broker: Broker,
  get: Pick<DirectGet, "at" | "last">,
  stream: string,
  which: Parameters<typeof askLeader>[2],
): Promise<DirectMessage | undefined> {
  const found = "last" in which ? await get.last(stream, which.last) : await get.at(stream, which.sequence);
  if (found !== undefined) return found;
  return untilAnswered(broker, deadlineIn(broker.requestTimeoutMs), () => askLeader(broker, stream, which));
}

/** The state of a stream. Throws as {@link askLeader}. */
export async function stateOf(broker: Broker, stream: string): Promise<StreamState> {
  return (await broker.jsm.streams.info(stream)).state;
}

/**
 * Creates a reader of streams' states. Those who ask at the same time share an answer: it is dear for the broker.
 *
 * @throws NetworkError (90004) when the broker does not answer in time.
 */
export function createStreamState(broker: Broker): (stream: string) => Promise<StreamState> {
  const asking = new Map<string, Promise<StreamState>>();
  const ask = async (stream: string): Promise<StreamState> => {
    await broker.whenConnected(deadlineIn(1_000));
    // Who asks from now on gets an answer of its own.
    asking.delete(stream);
    return untilAnswered(broker, deadlineIn(broker.requestTimeoutMs), () => stateOf(broker, stream));
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

/** Removes what matches, or everything, as far as it is below a sequence. Throws as {@link askLeader}. */
export async function purge(
  broker: Broker,
  stream: string,
  { filter, below = 0 }: { readonly filter?: string; readonly below?: number },
): Promise<void> {
  // To the broker, 0 is no limit.
  await broker.jsm.streams.purge(stream, { ...(filter !== undefined && { filter }), seq: below });
}
