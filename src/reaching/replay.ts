import { failure } from "../errors.ts";
import type { DeadLetter, DeadLetters } from "./dead-letters.ts";
import type { Escalations } from "./escalations.ts";

/** Which dead letters to replay: some, or all that there are now. */
export type ReplayRequest = { readonly escalationIds: readonly string[] } | "all";

export interface ReplayDeps {
  readonly deadLetters: Omit<DeadLetters, "add">;
  /** Where replayed letters go; undefined without a webhook. */
  readonly escalations: Pick<Escalations, "requeue"> | undefined;
}

/** Dead letters that are replayed at a time. */
const maxConcurrent = 100;

/**
 * Hands dead letters to the webhook again, and resolves to how many it was.
 *
 * @throws ArgsError (1001) without a webhook, RecordNotFoundError (1004) for an id that is not a dead letter,
 * NetworkError (90004) when the broker does not answer in time.
 */
export async function replay({ deadLetters, escalations }: ReplayDeps, request: ReplayRequest): Promise<number> {
  if (escalations === undefined) throw failure("ArgsError", "there is no escalation webhook to replay to");
  const replayOne = async (letter: DeadLetter) => {
    await escalations.requeue(letter);
    // After the queue has it: an end in between leaves it in both, and the queue takes each once.
    await deadLetters.remove(letter);
  };

  if (request !== "all") {
    const letters: DeadLetter[] = [];
    for (const escalationId of new Set(request.escalationIds)) {
      const letter = await deadLetters.find(escalationId);
      if (letter === undefined) throw failure("RecordNotFoundError", `${escalationId} is not a dead letter`);
      letters.push(letter);
    }
    for (let start = 0; start < letters.length; start += maxConcurrent) {
      await Promise.all(letters.slice(start, start + maxConcurrent).map(replayOne));
    }
    return letters.length;
  }
  let replayed = 0;
  let total = Number.POSITIVE_INFINITY;
  for (let place = 0; ; ) {
    const { letters, remaining } = await deadLetters.list(place, maxConcurrent);
    // As many as there are at first: those that die again meanwhile are not chased.
    if (replayed === 0) total = letters.length + remaining;
    await Promise.all(letters.map(replayOne));
    replayed += letters.length;
    place = letters.at(-1)?.place ?? place;
    if (remaining === 0 || replayed >= total) return replayed;
  }
}
