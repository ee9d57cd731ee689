import type { ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import type { ProtocolOptions } from "./protocol.ts";

/**
 * Pings a session from which nothing was read for pingIntervalMs, and destroys its socket when nothing, ack or other,
 * is read within pingTimeoutMs. A dead peer is so found within 2 * pingIntervalMs + pingTimeoutMs.
 *
 * @returns what stops it.
 */
export function pingWhenIdle(
  { log, limits: { pingIntervalMs, pingTimeoutMs } }: Pick<ProtocolOptions, "log" | "limits">,
  session: ServerHttp2Session,
  socket: Socket,
): () => void {
  let bytesRead = 0;
  let awaiting = false;
  let timer = setTimeout(tick, pingIntervalMs).unref();

  function rest(): void {
    awaiting = false;
    bytesRead = socket.bytesRead;
    clearTimeout(timer);
    timer = setTimeout(tick, pingIntervalMs).unref();
  }

  function tick(): void {
    if (session.destroyed) {
      // There is nothing left to ping, only to write, and the peer may not take it.
      timer = setTimeout(() => socket.destroy(), pingTimeoutMs).unref();
    } else if (socket.bytesRead !== bytesRead) {
      rest();
    } else {
      awaiting = true;
      session.ping(rest);
      // After a stall of the event loop timers run before reads: judge when the socket has been read.
      timer = setTimeout(() => setImmediate(requireAnswer), pingTimeoutMs).unref();
    }
  }

  function requireAnswer(): void {
    if (!awaiting || socket.destroyed) return;
    if (socket.bytesRead !== bytesRead) {
      rest();
    } else {
      log.info({ peer: socket.remoteAddress }, "http2 session destroyed: no answer to a ping");
      // Not session.destroy(): that waits until the dead peer has taken what is still to be written.
      socket.destroy();
    }
  }

  return () => clearTimeout(timer);
}
