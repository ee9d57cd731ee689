import { createServer } from "node:net";
import { createEngine } from "../../../src/http2/engine/engine.ts";
import type { Exchange, Receiver } from "../../../src/http2/exchange.ts";

/** A server of the engine, for tools such as h2spec: `node test/http2/engine/serve.ts [port]`. Answers with what it got. */
const log = { debug: () => {}, info: () => {}, error: () => {} };
const limits = {
  maxConcurrentStreams: 100,
  maxHeaderBytes: 16_384,
  requestTimeoutMs: 60_000,
  idleTimeoutMs: 60_000,
  pingIntervalMs: 20_000,
  pingTimeoutMs: 10_000,
};

function accept(exchange: Exchange): Receiver {
  const pieces: Buffer[] = [];
  return {
    onData: (bytes) => void pieces.push(Buffer.from(bytes)),
    onEnd: () => {
      const { ":method": method, ":path": path } = exchange.headers;
      const body = Buffer.concat([Buffer.from(`${method} ${path}: `), ...pieces]);
      exchange.answer([":status", "200", "content-type", "text/plain"], body);
    },
    onDrain: () => {},
    onClose: () => {},
  };
}

const engine = createEngine({ accept, log, limits });
const server = createServer((socket) => engine.adopt(socket));
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => {
  process.stdout.write(`${JSON.stringify(server.address())}\n`);
});
