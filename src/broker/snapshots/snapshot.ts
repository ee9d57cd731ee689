import { createInbox } from "@nats-io/transport-node";
import { z } from "zod";
import type { Broker } from "../connect.ts";
import { snapshotSubject } from "./layout.ts";

/** What the broker says of a stream that it copies: it is given back as it is when the stream is restored. */
export interface StreamCopy {
  readonly config: Readonly<Record<string, unknown>> & { readonly name: string };
  readonly state: Readonly<Record<string, unknown>> & CopyState;
}

interface CopyState {
  readonly messages: number;
  /** The sequences of its oldest and newest message. */
  readonly first_seq: number;
  readonly last_seq: number;
}

/** How long the broker may take until it answers, in milliseconds: it looks at all messages of the stream first. */
const answerMs = 60_000;

/** How long it may take until the next part of the copy, in milliseconds. */
const partMs = 30_000;

/** A part of a copy, and what may be on its way, in bytes. */
const partBytes = 131_072;
const windowBytes = 2_097_152;

export const streamCopy = z.object({
  config: z.looseObject({ name: z.string() }),
  state: z.looseObject({ messages: z.number(), first_seq: z.number(), last_seq: z.number() }),
});

const refused = z.object({ error: z.object({ description: z.string(), err_code: z.number().optional() }) });

/** What the broker has refused, in its own words. */
export function readRefusal(answer: unknown): string | undefined {
  const { data } = refused.safeParse(answer);
  return data?.error.description;
}

/**
 * Copies a stream with its sequences, headers, times and consumers, in the broker's own form. Others may write to it
 * meanwhile: the copy is of one moment.
 *
 * @param write takes the parts in their order.
 * @throws an error that names the stream when the broker refuses, or has no more to say for {@link partMs}.
 */
export async function snapshotStream(
  { nc }: Pick<Broker, "nc">,
  stream: string,
  write: (part: Uint8Array) => Promise<void>,
): Promise<StreamCopy> {
  const inbox = createInbox();
  const parts = nc.subscribe(inbox);
  try {
    const request = { deliver_subject: inbox, jsck: true, chunk_size: partBytes, window_size: windowBytes };
    const answer = await nc.request(snapshotSubject(stream), JSON.stringify(request), { timeout: answerMs });
    const refusal = readRefusal(answer.json());
    if (refusal !== undefined) throw new Error(`${stream} cannot be copied: ${refusal}`);
    const copy = streamCopy.parse(answer.json());
    let timer: NodeJS.Timeout | undefined;
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(() => parts.unsubscribe(), partMs);
    };
    wait();
    try {
      for await (const part of parts) {
        wait();
        if (part.data.length === 0) {
          const { code = 0, description = "" } = part.headers ?? {};
          if (code >= 400) throw new Error(`${stream} cannot be copied: ${description}`);
          return copy;
        }
        await write(part.data);
        part.respond();
      }
    } finally {
      clearTimeout(timer);
    }
    throw new Error(`${stream} cannot be copied: the broker said nothing for ${partMs / 1_000} s`);
  } finally {
    parts.unsubscribe();
  }
}
