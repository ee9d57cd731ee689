import type { HttpRequest } from "./listener.ts";

/** How long the rest of a refused body is taken from the wire before it is answered, in milliseconds. */
const maxDiscardMs = 5_000;

/** Of how many requests of one connection at once. */
const maxDiscards = 1;

const discards = new WeakMap<object, number>();

/**
 * Takes what is left of a refused body over HTTP/2: many clients (curl up to 8.10, for one) stop sending when they see
 * the answer, and then wait for ever for the end of their own stream. Over HTTP/1 Node does it after the answer.
 *
 * A connection that has many of them is answered at once: what is thrown away, too, is memory until it is collected.
 */
export async function discardBody(request: HttpRequest): Promise<void> {
  const session = "stream" in request ? request.stream.session : undefined;
  if (session === undefined || request.complete) return;
  const under = discards.get(session) ?? 0;
  if (under >= maxDiscards) return;
  discards.set(session, under + 1);
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, maxDiscardMs);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    request.once("end", done).once("close", done).resume();
  });
  discards.set(session, (discards.get(session) ?? 1) - 1);
}
