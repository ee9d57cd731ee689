import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type { Broker } from "../broker/connect.ts";
import { listen, tell, whenListening } from "../broker/signal.ts";
import { toPartition, toToken } from "../broker/subjects.ts";
import { deadlineIn } from "../deadline.ts";
import { liveAnswerFilter, liveAnswerSubject, parseLiveAnswer, whoSubject } from "./layout.ts";

/**
 * Finds the platforms on which users have sessions now, on whatever instance; in the order of the users, empty for one
 * who has none. 0 is a platform that the token does not name.
 *
 * Throws NetworkError (90004) when the broker does not answer in time.
 */
export type FindPlatforms = (userIds: readonly string[]) => Promise<readonly (readonly number[])[]>;

export interface PresenceOptions {
  readonly partitions: number;
  /** How long the broker may be away, in milliseconds. */
  readonly timeoutMs: number;
}

/** An instance that has not answered by then pushes nothing either, in milliseconds. */
const firstAnswerMs = 1_000;

/** How long further instances are waited for after the first, in milliseconds: how many there are nobody knows. */
const moreAnswersMs = 50;

const answer = z.array(z.number());

/** Creates the {@link FindPlatforms}. */
export function createFindPlatforms(broker: Broker, { partitions, timeoutMs }: PresenceOptions): FindPlatforms {
  return async (userIds) => {
    const question = randomUUID();
    const found = userIds.map(() => new Set<number>());
    const waiting = new Set(userIds.keys());
    const answered = Promise.withResolvers<void>();
    let isAnybody = false;

    const listening = listen(broker, liveAnswerFilter(question), ({ subject, payload }) => {
      const index = parseLiveAnswer(subject);
      // The broker says that nobody listens by an answer without a body.
      if (payload.length > 0) {
        isAnybody = true;
        for (const platform of answer.parse(JSON.parse(Buffer.from(payload).toString()))) found[index]?.add(platform);
      }
      waiting.delete(index);
      if (waiting.size === 0) answered.resolve();
    });
    try {
      await whenListening(broker, deadlineIn(timeoutMs));
      for (const [index, userId] of userIds.entries()) {
        const user = toToken(userId);
        tell(broker, whoSubject(toPartition(user, partitions), user), undefined, liveAnswerSubject(question, index));
      }
      if (userIds.length > 0) await Promise.race([answered.promise, delay(firstAnswerMs)]);
      if (isAnybody) await delay(moreAnswersMs);
    } finally {
      listening.stop();
    }
    return found.map((platforms) => [...platforms].sort((a, b) => a - b));
  };
}
