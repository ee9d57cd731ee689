import { failure } from "../../errors.ts";

/** A request of the direct get API (ADR-31): one message, or many in one round trip. */
export interface DirectGetRequest {
  /** Start at this stream sequence. */
  readonly seq?: number;
  /** The last message of each subject that matches one of these; at most 1,024 subjects may match. */
  readonly multi_last?: readonly string[];
  /** The messages that match this, in order. */
  readonly next_by_subj?: string;
  /** The last message that matches this. */
  readonly last_by_subj?: string;
  /** At most this many messages; required with next_by_subj for more than one. */
  readonly batch?: number;
  /** Stop after the message that reaches this many bytes. Default for more than one message: 4 MiB. */
  readonly max_bytes?: number;
}

/** Where a page begins and ends. */
export interface Range {
  /** It begins with this sequence. */
  readonly from: number;
  /** It has at most this many messages. Default: no limit by the index, 1,000 along the stream. */
  readonly count?: number;
  /** It ends with the message that reaches this size, in bytes. Default 4 MiB. */
  readonly maxBytes?: number;
}

/** Messages in the order of the stream. */
export interface Page {
  readonly messages: readonly DirectMessage[];
  /** How many more match. */
  readonly pending: number;
  /** By the index: the last sequence of the stream at the time of the read. */
  readonly upToSequence: number | undefined;
}

/** A stored message. */
export interface DirectMessage {
  readonly subject: string;
  readonly sequence: number;
  readonly payload: Uint8Array;
  /** When it was stored, in epoch milliseconds. */
  readonly timeMs: number;
  /** The value of a header, or "". */
  header(name: string): string;
}

/** Asks the broker once; undefined where the index has too many. */
export type Ask = (stream: string, request: DirectGetRequest) => Promise<Page | undefined>;

/**
 * Reads stored messages, from whichever replica answers first.
 *
 * One of a stream that nobody serves at the moment is made again until its time is over. All throw NetworkError (90004)
 * when the broker does not answer in time, BrokerRefusedError (90102) when it will not.
 */
export interface DirectGet {
  /** The message at a sequence. */
  at(stream: string, sequence: number): Promise<DirectMessage | undefined>;
  /** The last message that matches. */
  last(stream: string, filter: string): Promise<DirectMessage | undefined>;
  /** The first message that matches from a sequence on. */
  next(stream: string, filter: string, from: number): Promise<DirectMessage | undefined>;
  /** The last message of each of these subjects, or filters that match few each; up to 1,024 in all. */
  lastOf(stream: string, subjects: readonly string[]): Promise<readonly DirectMessage[]>;
  /** A page of the last messages of all subjects that match; undefined when that are more than 1,024. */
  index(stream: string, filters: readonly string[], range?: Range): Promise<Page | undefined>;
  /** A page of what matches, read along the stream: about 2 ms of the broker's CPU, where the index needs 0.1 ms. */
  along(stream: string, filter: string, range: Range): Promise<Page>;
  /** All messages that match, by the index if that has so many, else along the stream. */
  under(stream: string, filter: string): Promise<readonly DirectMessage[]>;
  /** What the others are made of. */
  readonly ask: Ask;
  /** Stops; pending reads fail. */
  close(): void;
}

/** Messages of a page along the stream. */
const pageCount = 1_000;

/** How often a read is made again that the broker has broken off. */
const maxTries = 3;

/** All kinds of reads, by one. */
export function readsOver(ask: Ask, close: () => void): DirectGet {
  const one = async (stream: string, request: DirectGetRequest) => (await ask(stream, request))?.messages[0];

  const index: DirectGet["index"] = async (stream, filters, { from, count, maxBytes } = { from: 1 }) => {
    for (let tries = 1; ; tries++) {
      const page = await ask(stream, { multi_last: filters, seq: from, ...limits(count, maxBytes) });
      // Without this number the broker broke off: a message expired while it was read.
      if (!page?.messages.length || page.upToSequence !== undefined) return page;
      if (tries === maxTries) throw failure("NetworkError", "the broker broke a read off");
    }
  };

  const along: DirectGet["along"] = async (stream, filter, { from, count = pageCount, maxBytes }) => {
    const page = await ask(stream, { next_by_subj: filter, seq: from, ...limits(count, maxBytes) });
    return page ?? { messages: [], pending: 0, upToSequence: undefined };
  };

  /** All pages that follow. */
  const follow = async (first: number, read: (from: number) => Promise<Page>): Promise<readonly DirectMessage[]> => {
    const messages: DirectMessage[] = [];
    for (let from = first; ; ) {
      const page = await read(from);
      messages.push(...page.messages);
      const last = page.messages.at(-1);
      if (last === undefined || page.pending === 0) return messages;
      from = last.sequence + 1;
    }
  };

  const lastOf: DirectGet["lastOf"] = (stream, subjects) =>
    follow(1, async (from) => {
      const page = await index(stream, subjects, { from });
      if (page === undefined) throw new RangeError("more than 1,024 subjects match");
      return page;
    });

  return {
    at: (stream, seq) => one(stream, { seq }),
    last: (stream, filter) => one(stream, { last_by_subj: filter }),
    next: (stream, filter, from) => one(stream, { next_by_subj: filter, seq: from }),
    lastOf,
    index,
    along,
    async under(stream, filter) {
      const indexed = await index(stream, [filter]);
      if (indexed?.pending === 0) return indexed.messages;
      return follow(1, (from) => along(stream, filter, { from }));
    },
    ask,
    close,
  };
}

function limits(
  batch: number | undefined,
  maxBytes: number | undefined,
): Pick<DirectGetRequest, "batch" | "max_bytes"> {
  return { ...(batch !== undefined && { batch }), ...(maxBytes !== undefined && { max_bytes: maxBytes }) };
}
