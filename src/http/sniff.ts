import type { Socket } from "node:net";

/** What a connection begins with: the preface of HTTP/2, a handshake of TLS, or something else, which may be HTTP/1. */
export type Beginning = "http2" | "tls" | "other";

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** The type of a record with which a handshake begins (RFC 8446, 5.1). No text does. */
const handshakeRecord = 22;

/** Reads just enough of a new connection to tell what it begins with, and puts it back. */
export function sniff(socket: Socket, timeoutMs: number, decide: (beginning: Beginning) => void): void {
  let head: Buffer = Buffer.alloc(0);
  let decided = false;
  // Not socket.setTimeout(): a peer that drips bytes would renew it. After a stall of the event loop timers run before
  // reads, hence the setImmediate: it lets bytes that have come in time be read first.
  const timer = setTimeout(() => setImmediate(giveUp), timeoutMs).unref();

  function giveUp(): void {
    if (!decided) socket.destroy();
  }

  // On "data": a version on "readable" and read() hung on dribbled bytes.
  function read(chunk: Buffer): void {
    head = head.length > 0 ? Buffer.concat([head, chunk]) : chunk;
    const seen = Math.min(head.length, preface.length);
    const isHttp2 = preface.subarray(0, seen).equals(head.subarray(0, seen));
    if (isHttp2 && seen < preface.length) return;
    decided = true;
    stop();
    socket.pause();
    socket.unshift(head);
    decide(isHttp2 ? "http2" : head[0] === handshakeRecord ? "tls" : "other");
  }

  function stop(): void {
    clearTimeout(timer);
    socket.off("data", read);
    socket.off("end", giveUp);
    socket.off("close", stop);
  }

  socket.on("data", read);
  socket.on("end", giveUp);
  socket.on("close", stop);
}
