import { z } from "zod";
import type { Broker } from "../connect.ts";
import { restoreSubject } from "./layout.ts";
import { readRefusal, type StreamCopy, streamCopy } from "./snapshot.ts";

/** How long the broker may take for a part, in milliseconds. */
const partMs = 30_000;

/** How long it may take to make the stream of all of them, in milliseconds. */
const wholeMs = 600_000;

const accepted = z.object({ deliver_subject: z.string() });

/**
 * Makes a stream of a copy. It must not be there.
 *
 * @param parts of the copy, none larger than what the broker takes as a message.
 * @throws an error that names the stream when the broker refuses, or when what it made is not what was copied.
 */
export async function restoreStream(
  { nc }: Pick<Broker, "nc">,
  { config, state }: StreamCopy,
  parts: AsyncIterable<Uint8Array>,
): Promise<void> {
  const { name } = config;
  const ask = async (subject: string, payload: string | Uint8Array, timeout: number) => {
    const answer = await nc.request(subject, payload, { timeout });
    const json: unknown = answer.data.length === 0 ? {} : answer.json();
    const refusal = readRefusal(json);
    if (refusal !== undefined) throw new Error(`${name} cannot be restored: ${refusal}`);
    return json;
  };
  const announced = await ask(restoreSubject(name), JSON.stringify({ config, state }), partMs);
  const { deliver_subject: subject } = accepted.parse(announced);
  for await (const part of parts) await ask(subject, part, partMs);
  const made = streamCopy.parse(await ask(subject, new Uint8Array(), wholeMs)).state;
  // What was to expire since then has: the end is what tells.
  if (made.last_seq === state.last_seq && made.messages <= state.messages) return;
  throw new Error(`${name} was restored to sequence ${made.last_seq}, not ${state.last_seq} as it was copied`);
}
