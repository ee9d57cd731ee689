import type { ServiceImpl } from "@connectrpc/connect";
import { requireAdmin } from "../auth/caller.ts";
import { wrongField } from "../errors.ts";
import type { DeadLetterService } from "../gen/mustreach/delivery/v1/dead_letter_pb.ts";
import type { DeadLetters } from "./dead-letters.ts";
import type { ReplayRequest } from "./replay.ts";

/** Dead letters on a page of a caller that names no number. */
const defaultPageSize = 100;

/** The most dead letters on a page, and the most ids of a replay. */
const maxLetters = 1_000;

export interface DeadLetterServiceDeps {
  readonly deadLetters: Pick<DeadLetters, "list">;
  readonly replay: (request: ReplayRequest) => Promise<number>;
}

/** Creates the implementation of DeadLetterService, which only translates. */
export function createDeadLetterService(deps: DeadLetterServiceDeps): ServiceImpl<typeof DeadLetterService> {
  return {
    async listDeadLetters({ pageSize, pageToken }, context) {
      if (pageSize < 0 || pageSize > maxLetters) throw wrongField("pageSize", `pageSize must be 1 to ${maxLetters}`);
      if (!/^\d{0,15}$/.test(pageToken)) throw wrongField("pageToken", "pageToken must be one that a page ended with");
      requireAdmin(context);
      const { letters, remaining } = await deps.deadLetters.list(Number(pageToken), pageSize || defaultPageSize);
      return {
        deadLetters: letters.map(({ id, userId, notification, attempts, error, deadAtMs }) => ({
          escalationId: id,
          userId,
          notification,
          attempts,
          error,
          deadTime: BigInt(deadAtMs),
        })),
        nextPageToken: remaining === 0 ? "" : String(letters.at(-1)?.place ?? ""),
        remaining: letters.length + remaining,
      };
    },

    async replayDeadLetters({ escalationIds, all }, context) {
      if (all === escalationIds.length > 0) throw wrongField("escalationIDs", "give either escalationIDs or all");
      if (escalationIds.length > maxLetters) throw wrongField("escalationIDs", `at most ${maxLetters} escalationIDs`);
      requireAdmin(context);
      return { replayed: await deps.replay(all ? "all" : { escalationIds }) };
    },
  };
}
