import type { Connection } from "../http2/exchange.ts";

/** How long the rest of a refused body is taken from the wire before it is answered, in milliseconds. */
const maxDiscardMs = 5_000;

/** Of how many requests of one connection at once. */
const maxDiscards = 1;

const discards = new WeakMap<Connection, number>();

/**
 * Waits for what is left of a refused body over HTTP/2: many clients (curl up to 8.10, for one) stop sending when they
 * see the answer, and then wait for ever for the end of their own stream. Over HTTP/1 Node takes it after the answer.
 *
 * A connection that has many of them is answered at once: what is thrown away, too, is memory until it is collected.
 *
 * @param rest resolves when all of the body has come, or the peer has gone.
 */
export async function discard(connection: Connection, rest: Promise<void>): Promise<void> {
  const under = discards.get(connection) ?? 0;
  if (!connection.isHttp2 || under >= maxDiscards) return;
  discards.set(connection, under + 1);
  let timer: NodeJS.Timeout | undefined;
  const timeIsUp = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, maxDiscardMs);
  });
  await Promise.race([rest, timeIsUp]);
  clearTimeout(timer);
  discards.set(connection, (discards.get(connection) ?? 1) - 1);
}
