import type { Server } from "node:net";

/** How long connections are taken that wait, at most, in milliseconds: more may come for ever. */
const maxTakingMs = 2_000;

/** A turn of the event loop this short, in milliseconds, has done little since it looked for connections. */
const shortTurnMs = 0.25;

/** By how much more it may be, in milliseconds, after each that was longer: there may be no short one. */
const patienceMs = 0.05;

/** How many connections wait in the system's queue while the port is closed. */
const lastBacklog = 1;

/**
 * Lets a server take the connections that wait in the system's queue, and calls `close` when there is none, in the same
 * turn of the event loop: what is in the queue when the last process closes the port is reset, although the client has
 * long been told that it is connected. There is one accept a turn, so the queue is empty when a turn has brought none.
 *
 * @param isLast no other process goes on accepting: who comes faster than one a turn is not let in, hears nothing, and
 * is refused when its system tries again, about a second later.
 */
export async function takeWaiting(server: Server, isLast: boolean, close: () => void): Promise<void> {
  let taken = 0;
  const count = () => void taken++;
  server.on("connection", count).on("drop", count);
  if (isLast) shortenQueue(server);
  const startedAt = performance.now();
  // From here on each turn polls.
  await nextTurn();
  for (let enoughMs = shortTurnMs; ; enoughMs += patienceMs) {
    const before = taken;
    const turnedAt = performance.now();
    await nextTurn();
    const now = performance.now();
    if ((taken === before && now - turnedAt <= enoughMs) || now - startedAt > maxTakingMs) break;
  }
  close();
  server.off("connection", count).off("drop", count);
}

/** Listens again, with a queue of another length: Node has no word for it. Without it, there is only more to take. */
function shortenQueue(server: Server): void {
  const handle: unknown = Reflect.get(server, "_handle");
  if (typeof handle !== "object" || handle === null || !("listen" in handle)) return;
  if (typeof handle.listen === "function") handle.listen(lastBacklog);
}

/** Its callbacks come after those of what was polled. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
