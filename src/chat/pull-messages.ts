import type { Caller } from "../auth/caller.ts";
import { wrongField } from "../errors.ts";
import type { PullMessagesRequest } from "../gen/mustreach/msg/v1/msg_pb.ts";
import { type ChatDeps, requireReadable } from "./access.ts";
import type { CopyPage } from "./chat.ts";

/** Copies in an answer to a request that does not say how many. */
const defaultNum = 100;

/** The most copies in an answer. */
const maxNum = 1_000;

/**
 * Reads chat copies by their place.
 *
 * @throws ArgsError (1001) for a bad argument, NoPermissionError (1002) for a conversation that the caller may not see,
 * NetworkError (90004) when the broker does not answer in time.
 */
export async function pullMessages(
  deps: ChatDeps,
  caller: Caller,
  { conversationId, begin, end, num }: PullMessagesRequest,
): Promise<CopyPage> {
  if (begin < 0n) throw wrongField("begin", "begin must be a place, from 1");
  if (end < 0n) throw wrongField("end", "end must be a place, from 1");
  if (num < 0 || num > maxNum) throw wrongField("num", `num must be 1 to ${maxNum}`);
  const conversation = await requireReadable(deps, caller, conversationId);
  if (conversation === undefined) return { messages: [], isEnd: true };
  return deps.chat.pull(conversation, {
    begin: Number(begin) || 1,
    end: Number(end) || Number.MAX_SAFE_INTEGER,
    limit: num || defaultNum,
  });
}
