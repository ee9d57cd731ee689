import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { Socket } from "node:net";
import type { Connection, Peer } from "../http2/exchange.ts";
import { type Protocol, pathOf } from "../http2/protocol.ts";
import { Http1Exchange } from "./http1-exchange.ts";
import type { Http1Options } from "./protocols.ts";

/** What is under way on one connection, in order of arrival. */
interface Activity {
  readonly connection: Connection;
  /** The responses that have not ended: at most the first of them is being made. */
  readonly open: Set<ServerResponse>;
  /** The requests whose turn has not come. */
  readonly waiting: [IncomingMessage, ServerResponse][];
  /** It ends with its next answer. */
  isLast: boolean;
}

/** HTTP/1.1 for sockets that another server accepts. */
export interface Http1 extends Protocol {
  /** From now on, each connection ends with its next answer. */
  endWithAnswers(): void;
  /** Each connection that there is now ends with its next answer. */
  recycle(): void;
}

/** Creates an HTTP/1.1 server for sockets that another server accepts. */
export function createHttp1(options: Http1Options): Http1 {
  const { accept, log, onUpgrade } = options;
  const connections = new Map<Socket, Activity>();
  let draining = false;

  const server = createServer({
    maxHeaderSize: options.maxHeaderBytes,
    headersTimeout: options.headersTimeoutMs,
    requestTimeout: options.requestTimeoutMs,
    keepAliveTimeout: options.keepAliveTimeoutMs,
    connectionsCheckingInterval: Math.min(5_000, Math.ceil(options.headersTimeoutMs / 4)),
    shouldUpgradeCallback: (req) => onUpgrade !== undefined && req.headers.upgrade?.toLowerCase() === "websocket",
  });
  // A client may close its side right after its request. Node would then end ours too, and drop the answer.
  Object.assign(server, { httpAllowHalfOpen: true });
  server.on("request", (req, res) => {
    const activity = connections.get(req.socket);
    // What came in one read with the request that was too many is told all the same.
    if (activity === undefined || req.socket.destroyed) return;
    track(req.socket, activity, res);
    const { waiting, open } = activity;
    if (open.size === 1) {
      answer(activity, req, res);
    } else if (waiting.push([req, res]) > options.maxPipelinedRequests) {
      options.refuse("maxPipelinedRequests");
      req.socket.destroy();
    } else {
      // Each request is some kilobytes here: they are left in the kernel, and so with the peer, until their turn.
      req.socket.pause();
    }
  });
  server.on("upgrade", (req, socket: Socket, head) => {
    // In the middle of the answers to what came before it, they would be taken for frames.
    const activity = connections.get(socket);
    if (activity === undefined || activity.open.size > 0) {
      socket.destroy();
      return;
    }
    try {
      onUpgrade?.(req, socket, head, activity.connection);
    } catch (err) {
      log.error({ err, path: pathOf({ ":path": req.url }) }, "upgrade failed");
      socket.destroy();
    }
  });
  // An http.Server tracks connections only once it listens, and this one never does: without the event neither
  // headersTimeout nor requestTimeout nor closeIdleConnections() has any effect.
  server.emit("listening");

  function answer({ connection }: Activity, req: IncomingMessage, res: ServerResponse): void {
    // RFC 9112, 3.2: two of them are how one request is told as two by two servers.
    if (countHosts(req.rawHeaders) > 1) res.writeHead(400, { Connection: "close" }).end();
    else new Http1Exchange(req, res, connection, log).serve(accept);
  }

  function track(socket: Socket, activity: Activity, res: ServerResponse): void {
    const { open, waiting } = activity;
    open.add(res);
    if (draining || activity.isLast) res.shouldKeepAlive = false;
    res.once("close", () => {
      open.delete(res);
      const next = waiting.shift();
      if (next !== undefined && !socket.destroyed) {
        answer(activity, ...next);
        if (waiting.length === 0) socket.resume();
      }
      // Its headers may have promised keep-alive before the drain began.
      if ((draining || activity.isLast) && open.size === 0) socket.destroySoon();
    });
  }

  function recycle(): void {
    for (const activity of connections.values()) {
      activity.isLast = true;
      for (const res of activity.open) res.shouldKeepAlive = false;
    }
  }

  function endWithAnswers(): void {
    draining = true;
    recycle();
  }

  return {
    adopt(socket: Socket, peer?: Peer) {
      const open = new Set<ServerResponse>();
      const waiting: Activity["waiting"] = [];
      const connection: Connection = { remoteAddress: socket.remoteAddress ?? "", isHttp2: false, peer };
      connections.set(socket, { connection, open, waiting, isLast: false });
      socket.once("close", () => connections.delete(socket));
      socket.once("end", () => {
        // A client that waits for its answer gets it. In the middle of a stream, FIN means that nobody reads any more.
        for (const res of open) if (res.headersSent && !res.writableEnded) socket.destroy();
      });
      server.emit("connection", socket);
      // Node resumes a socket to take the rest of a body. After its own listener, which starts reading.
      socket.on("resume", () => {
        if (waiting.length > 0) socket.pause();
      });
      process.nextTick(() => socket.resume());
    },
    endWithAnswers,
    recycle,
    drain() {
      endWithAnswers();
      server.closeIdleConnections();
    },
    close: () => server.close(),
  };
}

function countHosts(rawHeaders: readonly string[]): number {
  let hosts = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) if (rawHeaders[i]?.toLowerCase() === "host") hosts++;
  return hosts;
}
