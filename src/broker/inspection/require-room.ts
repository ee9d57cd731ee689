import { failure } from "../../errors.ts";
import type { Broker } from "../connect.ts";

/** How much a stream may hold. */
export interface StreamBound {
  readonly stream: string;
  readonly maxBytes: number;
  readonly maxMessages: number;
  /** What the operator sets for more bytes. */
  readonly setting: string;
}

/** How old what is known of a stream may be before it is asked for again, in milliseconds. */
const keptMs = 1_000;

/** With this part of the room in use, what is known is asked for again at each call. */
const nearlyFull = 0.9;

/**
 * Creates what is asked before something is added to a stream which the broker does not bound: one that has schedules can
 * only evict (ADR-51), and `max_bytes` would keep the disk for each from the start, and refuse what makes room as well.
 * Nobody waits but the first, and who is near the bound: else what was known a second ago decides, so as much more is let in
 * as is written in that time.
 *
 * @throws StoreFullError (90101) from the bound on: nothing was stored, and nothing that is stored is lost.
 */
export function createRequireRoom({ jsm }: Pick<Broker, "jsm">, bound: StreamBound): () => Promise<void> {
  const { stream, maxBytes, maxMessages, setting } = bound;
  let known: { readonly bytes: number; readonly messages: number } | undefined;
  let askedMs = Number.NEGATIVE_INFINITY;
  let asking: Promise<void> | undefined;

  const read = async () => {
    try {
      known = (await jsm.streams.info(stream)).state;
    } catch {
      // Who writes is told by the broker what is the matter.
    } finally {
      asking = undefined;
    }
  };
  const ask = (): Promise<void> => {
    askedMs = performance.now();
    asking ??= read();
    return asking;
  };

  return async () => {
    const used = known === undefined ? 1 : Math.max(known.bytes / maxBytes, known.messages / maxMessages);
    if (used >= nearlyFull) await ask();
    else if (performance.now() - askedMs >= keptMs) void ask();
    if (known === undefined) return;
    const { bytes, messages } = known;
    if (bytes < maxBytes && messages < maxMessages) return;
    const most = bytes >= maxBytes ? `${maxBytes} bytes (${setting})` : `${maxMessages} messages`;
    throw failure("StoreFullError", `${stream} holds its maximum of ${most}; nothing of this was stored`);
  };
}
