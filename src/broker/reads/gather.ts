import { atEndOfTurn } from "../../end-of-turn.ts";
import {
  type Ask,
  type DirectGet,
  type DirectGetRequest,
  type DirectMessage,
  type Page,
  readsOver,
} from "./direct-get.ts";

/** A read that waits for the end of the turn, for all who have asked for the same. */
interface Waiting {
  readonly stream: string;
  readonly request: DirectGetRequest;
  readonly answer: PromiseWithResolvers<Page | undefined>;
}

/** Filters in one read. multi_last looks at most 1,024 subjects up, and a filter matches more than one. */
const maxGathered = 64;

/**
 * The same reads, gathered: who asks the same in one turn of the event loop shares the answer, and all last messages
 * below a subject are read together with those below others. When thousands of devices come at once, each asks the same
 * few questions for its own user.
 */
export function gathered({ ask, close }: DirectGet): DirectGet {
  return readsOver(gather(ask), close);
}

function gather(ask: Ask): Ask {
  let waiting = new Map<string, Waiting>();

  const askAll = (): void => {
    const all = [...waiting.values()];
    waiting = new Map();
    for (const read of all) if (!isBelow(read.request)) askAlone(read);
    for (const reads of Map.groupBy(
      all.filter(({ request }) => isBelow(request)),
      ({ stream }) => stream,
    ).values()) {
      for (let start = 0; start < reads.length; start += maxGathered) {
        void askTogether(reads.slice(start, start + maxGathered));
      }
    }
  };

  const askAlone = ({ stream, request, answer }: Waiting): void => {
    ask(stream, request).then(answer.resolve, answer.reject);
  };

  const askTogether = async (reads: readonly Waiting[]): Promise<void> => {
    const [first] = reads;
    if (first === undefined || reads.length === 1) return reads.forEach(askAlone);
    const filters = reads.flatMap(({ request }) => request.multi_last ?? []);
    const page = await ask(first.stream, { multi_last: filters, seq: 1 }).catch(() => undefined);
    const isBrokenOff = page !== undefined && page.messages.length > 0 && page.upToSequence === undefined;
    // Then each is asked, and answered or refused, for itself.
    if (page === undefined || page.pending > 0 || isBrokenOff) return reads.forEach(askAlone);
    const found = Map.groupBy(page.messages, ({ subject }) => toStem(subject));
    for (const { request, answer } of reads) {
      const messages = found.get(toStem(request.multi_last?.[0] ?? "")) ?? none;
      answer.resolve({ messages, pending: 0, upToSequence: page.upToSequence });
    }
  };

  return (stream, request) => {
    if (waiting.size === 0) atEndOfTurn(askAll);
    const key = `${stream} ${JSON.stringify(request)}`;
    let read = waiting.get(key);
    if (read === undefined) {
      read = { stream, request, answer: Promise.withResolvers() };
      waiting.set(key, read);
    }
    return read.answer.promise;
  };
}

const none: readonly DirectMessage[] = [];

/** Whether all last messages are asked for whose subjects have one more token than a given one, which is named. */
function isBelow({ multi_last: filters, seq = 1, ...more }: DirectGetRequest): boolean {
  const [filter = "", ...others] = filters ?? [];
  return others.length === 0 && seq <= 1 && Object.keys(more).length === 0 && /^[^*>]+\.\*$/.test(filter);
}

/** A subject, or a filter, without its last token. */
function toStem(subject: string): string {
  return subject.slice(0, subject.lastIndexOf("."));
}
