import { errorCode } from "../frames/frames.ts";
import type { Engine, Http2Connection } from "./connection.ts";
import { done } from "./stream.ts";

/** The most that a limit on time is missed by, in milliseconds; a quarter of the shortest one if that is less. */
const maxTickMs = 5_000;

/**
 * Holds the limits on time. One timer looks at all connections: what is limited notes at which tick it began, which costs
 * nothing, and may last up to a tick longer.
 *
 * @returns what stops it.
 */
export function watch(engine: Engine): () => void {
  const { limits, bounds } = engine;
  const durations = {
    request: limits.requestTimeoutMs,
    idle: limits.idleTimeoutMs,
    silence: limits.pingIntervalMs,
    answer: limits.pingTimeoutMs,
    stall: bounds.stallTimeoutMs,
    preface: bounds.prefaceTimeoutMs,
  };
  const tickMs = Math.min(maxTickMs, Math.ceil(Math.min(...Object.values(durations)) / 4));
  const ticks = Object.fromEntries(
    Object.entries(durations).map(([name, ms]) => [name, Math.ceil(ms / tickMs)]),
  ) as typeof durations;

  function look(): void {
    engine.tick++;
    for (const connection of engine.connections) if (!connection.isOver) lookAt(connection);
  }

  function lookAt(connection: Http2Connection): void {
    const { tick } = engine;
    const hasBegun = connection.hasSettings && connection.blockAt === undefined;
    if (!hasBegun && tick - (connection.blockAt ?? connection.openedAt) > ticks.preface) connection.socket.destroy();
    else if (connection.streams.size > 0) lookAtStreams(connection);
    else if (tick - connection.idleAt > ticks.idle) connection.drain();
    lookForLife(connection);
  }

  function lookAtStreams(connection: Http2Connection): void {
    const { tick } = engine;
    for (const stream of connection.streams.values()) {
      const age = tick - stream.tick;
      // With an answer in course it is a conversation, which may last: the limit is for requests alone.
      const isSlow = (stream.state & (done.remote | done.headers)) === 0 && age > ticks.request;
      const isStalled = stream.backlog !== undefined && age > ticks.stall;
      if (isSlow || isStalled) stream.reset(errorCode.cancel);
    }
  }

  /** A dead peer is found within `pingIntervalMs` + `pingTimeoutMs`, and three ticks. */
  function lookForLife(connection: Http2Connection): void {
    const { tick } = engine;
    if (connection.isHeard) {
      connection.isHeard = false;
      connection.isPinged = false;
      connection.heardAt = tick;
    } else if (!connection.isPinged) {
      if (tick - connection.heardAt < ticks.silence) return;
      connection.ping();
      connection.heardAt = tick;
    } else if (tick - connection.heardAt > ticks.answer) {
      engine.log.info({ peer: connection.remoteAddress }, "http2 connection destroyed: no answer to a ping");
      connection.socket.destroy();
    }
  }

  // After a stall of the event loop timers run before reads: judge when the sockets have been read.
  const timer = setInterval(() => setImmediate(look), tickMs).unref();
  return () => clearInterval(timer);
}
