import { type DirectGet, type DirectMessage, tooManyResults } from "./direct-get.ts";

/** Reads the messages of subjects, or filters that match few each, as far as there are any, in the order of the stream. */
export async function lastOfEach(
  get: DirectGet,
  stream: string,
  subjects: readonly string[],
): Promise<readonly DirectMessage[]> {
  const messages: DirectMessage[] = [];
  // A page ends at a size; the rest follows the last sequence.
  for (let seq = 1; ; ) {
    const found = await get(stream, { multi_last: subjects, seq });
    if (found === tooManyResults) throw new RangeError("too many subjects");
    messages.push(...found.messages);
    if (found.pending === 0) return messages;
    seq = (found.messages.at(-1)?.sequence ?? 0) + 1;
  }
}
