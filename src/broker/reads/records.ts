import { deadlineIn } from "../../deadline.ts";
import { forAll } from "../../in-flight.ts";
import type { Broker } from "../connect.ts";
import { everything } from "../subjects.ts";
import { again, until } from "../until.ts";
import type { DirectGet, DirectMessage } from "./direct-get.ts";
import { askLeader } from "./leader.ts";

/** The records of a stream, of which each takes the place of the one before it under its subject. */
export interface Records {
  /**
   * The record of a subject.
   *
   * @throws NetworkError (90004) when the broker does not answer in time, or only replicas that are behind.
   */
  of(subject: string): Promise<DirectMessage | undefined>;
  /** The records of all subjects that match one of these. Throws as {@link Records.of}. */
  under(filters: readonly string[]): Promise<readonly DirectMessage[]>;
  /** A record was given this sequence. */
  saw(sequence: number): void;
}

/** So many answers are not believed before the leader is asked how far the stream is. */
const maxDoubted = 4;

/** Questions to the leader at a time. */
const maxAsked = 32;

/**
 * Creates the reader of a stream's records.
 *
 * A replica that catches up has removed at once what was replaced, and does not have yet what took its place: a record
 * that was there all the time is missing, for as long as that takes; five seconds have been seen. So, of a stream with
 * replicas, one that is behind what was seen of the stream is not believed, and another is asked. That there is nothing
 * at all is asked of the leader: what finds nothing does not say how far it is.
 */
export function createRecords(
  broker: Broker,
  get: Pick<DirectGet, "last" | "index" | "under">,
  stream: string,
  { isReplicated = false } = {},
): Records {
  /** The highest sequence that is known to be there; undefined before it was asked for over this connection. */
  let newest: number | undefined;
  broker.onReconnect(() => {
    newest = undefined;
  });

  const askNewest = async (filter: string): Promise<number> =>
    (await askLeader(broker, stream, { last: filter }))?.sequence ?? 0;

  /** Those who ask at the same time share an answer. */
  let asking: Promise<number> | undefined;
  const findNewest = (): Promise<number> => {
    asking ??= askNewest(everything).finally(() => {
      asking = undefined;
    });
    return asking;
  };

  const saw = (sequence: number): void => {
    if (newest !== undefined) newest = Math.max(newest, sequence);
  };

  /** Whether there is nothing, for certain. */
  const isEmpty = async (filters: readonly string[]): Promise<boolean> => {
    const found: number[] = [];
    await forAll(filters, maxAsked, async (filter) => void found.push(await askNewest(filter)));
    const last = Math.max(0, ...found);
    saw(last);
    return last === 0;
  };

  const under: Records["under"] = (filters) => {
    let doubted = 0;
    return until(deadlineIn(broker.requestTimeoutMs), async () => {
      if (isReplicated) newest ??= await findNewest();
      // What is seen while it is read need not be in it.
      const known = newest ?? 0;
      const page = await get.index(stream, filters);
      if (page === undefined || page.pending > 0) {
        const [filter = "", ...others] = filters;
        if (others.length === 0) return get.under(stream, filter);
        return (await Promise.all(filters.map((one) => under([one])))).flat();
      }
      const { messages, upToSequence = 0 } = page;
      if (!isReplicated || (messages.length === 0 && (await isEmpty(filters)))) return messages;
      if (messages.length > 0 && upToSequence >= known) {
        saw(upToSequence);
        return messages;
      }
      // It may be another store by now, which never was so far.
      if (++doubted >= maxDoubted) newest = await findNewest();
      return again;
    });
  };

  return {
    of: async (subject) => (isReplicated ? (await under([subject]))[0] : get.last(stream, subject)),
    under,
    saw,
  };
}
