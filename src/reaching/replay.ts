import { failure } from "../errors.ts";
import type { DeadLetter, DeadLetterPage, DeadLetters } from "./dead-letters.ts";
import type { Escalations } from "./escalations.ts";

/** Which dead letters to replay: some, or all that there are now. */
export type ReplayRequest = { readonly escalationIds: readonly string[] } | "all";

/** Shows the dead letters and hands them to the webhook again. */
export interface DeadLetterDesk {
  /**
   * Lists what follows a place.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  list(afterPlace: number, limit: number): Promise<DeadLetterPage>;
  /**
   * Replays dead letters, and resolves to how many it was.
   *
   * @throws ArgsError (1001) without a webhook, RecordNotFoundError (1004) for an id that is not a dead letter,
   * NetworkError (90004) when the broker does not answer in time.
   */
  replay(request: ReplayRequest): Promise<number>;
}

export interface DeadLetterDeskOptions {
  readonly deadLetters: Omit<DeadLetters, "add">;
  /** Where replayed letters go; undefined without a webhook. */
  readonly escalations: Pick<Escalations, "requeue"> | undefined;
}

/** Dead letters that are replayed at a time. */
const maxConcurrent = 100;

/** Creates the desk. */
export function createDeadLetterDesk({ deadLetters, escalations }: DeadLetterDeskOptions): DeadLetterDesk {
  const replaySome = async (queue: Pick<Escalations, "requeue">, letters: readonly DeadLetter[]): Promise<void> => {
    const replayOne = async (letter: DeadLetter) => {
      await queue.requeue(letter);
      // After the queue has it: an end in between leaves it in both, and the queue takes each once.
      await deadLetters.remove(letter);
    };
    await Promise.all(letters.map(replayOne));
  };

  const find = async (escalationId: string): Promise<DeadLetter> => {
    const letter = await deadLetters.find(escalationId);
    if (letter === undefined) throw failure("RecordNotFoundError", `${escalationId} is not a dead letter`);
    return letter;
  };

  return {
    list: (afterPlace, limit) => deadLetters.list(afterPlace, limit),

    async replay(request) {
      if (escalations === undefined) throw failure("ArgsError", "there is no escalation webhook to replay to");
      if (request !== "all") {
        const letters: DeadLetter[] = [];
        for (const escalationId of new Set(request.escalationIds)) letters.push(await find(escalationId));
        for (let start = 0; start < letters.length; start += maxConcurrent) {
          await replaySome(escalations, letters.slice(start, start + maxConcurrent));
        }
        return letters.length;
      }
      let replayed = 0;
      let total = Number.POSITIVE_INFINITY;
      for (let place = 0; ; ) {
        const { letters, remaining } = await deadLetters.list(place, maxConcurrent);
        // As many as there are at first: those that die again meanwhile are not chased.
        if (replayed === 0) total = letters.length + remaining;
        await replaySome(escalations, letters);
        replayed += letters.length;
        place = letters.at(-1)?.place ?? place;
        if (remaining === 0 || replayed >= total) return replayed;
      }
    },
  };
}
