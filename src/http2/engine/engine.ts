import type { Socket } from "node:net";
import type { Peer } from "../exchange.ts";
import { initialWindowBytes } from "../frames/frames.ts";
import { sendWindowUpdate } from "../frames/send.ts";
import { createDecoder } from "../hpack/decoder.ts";
import type { Protocol, ProtocolOptions } from "../protocol.ts";
import { type Engine, Http2Connection } from "./connection.ts";
import { announceSettings } from "./control.ts";
import { type Bounds, defaultBounds } from "./limits.ts";
import { Receiving } from "./receive.ts";
import { watch } from "./watch.ts";

export interface EngineOptions extends ProtocolOptions {
  /** Other values than those of {@link defaultBounds}. */
  readonly bounds?: Partial<Bounds>;
}

/**
 * Creates HTTP/2 (RFC 9113) of our own, server side, on sockets of TCP or TLS. A turn of the event loop is its unit: what
 * has come is answered, and what is said is sent, with one write for each connection.
 */
export function createEngine({ accept, log, limits, bounds: given }: EngineOptions): Protocol {
  const bounds = { ...defaultBounds, ...given };
  const connections = new Set<Http2Connection>();
  let scheduled: Http2Connection[] = [];

  const engine: Engine = {
    accept,
    log,
    limits,
    bounds,
    tick: 0,
    waitingBytes: 0,
    connections,
    schedule(connection) {
      if (scheduled.push(connection) === 1) setImmediate(flushScheduled);
    },
  };
  const stopWatching = watch(engine);

  function flushScheduled(): void {
    const due = scheduled;
    scheduled = [];
    for (const connection of due) guard(connection, () => connection.flush());
  }

  /** A fault of the engine costs a connection, not the process. */
  function guard(connection: Http2Connection, work: () => void): void {
    try {
      work();
    } catch (err) {
      log.error({ err, peer: connection.remoteAddress }, "http2 connection destroyed: a fault of the engine");
      connection.socket.destroy();
    }
  }

  function onError(err: Error): void {
    log.debug({ err }, "http2 socket failed");
  }

  function adopt(socket: Socket, peer?: Peer): void {
    const decoder = createDecoder({ maxTableSize: bounds.headerTableBytes, maxListSize: limits.maxHeaderBytes });
    const connection = new Http2Connection(engine, socket, decoder, peer);
    const receiving = new Receiving(connection);
    connections.add(connection);
    // With half-open sockets, connections outlive a client that has closed its side.
    socket.allowHalfOpen = false;
    socket.setNoDelay(true);
    socket.on("error", onError);
    // Not once: it would keep two objects more for each connection.
    socket.on("end", () => connection.abandon());
    socket.on("close", () => {
      connections.delete(connection);
      connection.abandon();
    });
    announceSettings(connection);
    sendWindowUpdate(connection.output, 0, bounds.connectionWindowBytes - initialWindowBytes);
    connection.touch();
    socket.on("data", (chunk: Buffer) => guard(connection, () => receiving.read(chunk)));
    socket.resume();
  }

  return {
    adopt,
    drain() {
      for (const connection of connections) connection.drain();
    },
    close: stopWatching,
  };
}
