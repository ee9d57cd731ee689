import { type IncomingMessage, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { WebSocketServer } from "ws";
import type { UpgradeHandler } from "../http/protocols.ts";
import { readTarget, type Target } from "../http/target.ts";
import type { Fields, Connection as HttpConnection, RequestHeaders } from "../http2/exchange.ts";
import type { Log } from "../http2/protocol.ts";
import { createRate, type RateOptions } from "../rate-limit.ts";
import type { TimerWheel } from "../timer-wheel.ts";
import { Connection, type ConnectionDeps, type Open } from "./connection.ts";
import { defaultLimits, type WebSocketLimits } from "./limits.ts";

/** A request for a WebSocket. It is answered by one of the two methods, once, at any time. */
export interface Upgrade {
  /** As those of an exchange. */
  readonly headers: RequestHeaders;
  readonly target: Target;
  readonly connection: HttpConnection;
  /** Opens the WebSocket. A request that is none of RFC 6455 is refused instead, with 400 or 405. */
  accept(open: Open): void;
  /** Answers as plain HTTP, and ends the connection. */
  refuse(status: number, fields: Fields, body: string): void;
}

/** What a path leads to. */
export interface WebSocketRoute {
  /** The subprotocols that it speaks: who offers others only is refused with 400. None: no matter what is offered. */
  readonly protocols: readonly string[];
  /** The largest message, in bytes; a larger one ends the connection with 1009. */
  readonly maxMessageBytes: number;
  /** How many messages are taken; with one more the connection is ended with 1008. */
  readonly messages: RateOptions;
  readonly answer: (upgrade: Upgrade) => void;
}

export interface WebSocketOptions {
  /** By path. */
  readonly routes: Readonly<Record<string, WebSocketRoute>>;
  /** Where silence is waited for. */
  readonly timers: TimerWheel;
  readonly log: Log;
  readonly limits?: Partial<WebSocketLimits>;
}

/** The WebSockets of a port. */
export interface WebSockets {
  /** Takes over the socket of a request with `Upgrade: websocket`. */
  readonly upgrade: UpgradeHandler;
  /** How many are open. */
  size(): number;
  /** Tells all that the server is stopping, and refuses new ones with 503. */
  drain(): void;
}

/** Creates what answers requests for WebSockets: where each path leads. */
export function createWebSockets(options: WebSocketOptions): WebSockets {
  const { timers, log } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const pings = createRate(limits.pings);
  const open = new Set<Connection>();
  let isDraining = false;

  const routes = new Map(
    Object.entries(options.routes).map(([path, route]) => {
      const { protocols, maxMessageBytes } = route;
      const settings = {
        noServer: true,
        clientTracking: false,
        perMessageDeflate: false,
        maxPayload: maxMessageBytes,
        maxFragments: limits.maxFragments,
        maxBufferedChunks: limits.maxBufferedChunks,
        maxPendingAutoPongs: limits.maxWaitingPongs,
        closeTimeout: limits.closeTimeoutMs,
        handleProtocols: (offered: Set<string>) => protocols.find((protocol) => offered.has(protocol)) ?? false,
      } as const;
      const deps: ConnectionDeps = { limits, timers, log, open, pings, messages: createRate(route.messages) };
      return [path, { route, deps, server: new WebSocketServer(settings) }];
    }),
  );

  return {
    upgrade(req, socket, head, connection) {
      const { headers } = req;
      const fields = { ...headers, ":method": req.method, ":path": req.url, ":authority": headers.host };
      const request = fields as RequestHeaders;
      const target = readTarget(request);
      const found = routes.get(target.path);
      if (isDraining) return refuse(socket, 503, [], "the server is stopping");
      if (target.isHostBad) return refuse(socket, 400, [], "Host must be a host and, if any, a port");
      if (found === undefined) return refuse(socket, 404, [], "404 page not found");
      const { route, deps, server } = found;
      if (!isOffered(route.protocols, req)) {
        return refuse(socket, 400, [], `Sec-WebSocket-Protocol must have ${route.protocols.join(" or ")}`);
      }
      let isAnswered = false;
      const once = (what: () => void) => {
        if (!isAnswered) what();
        isAnswered = true;
      };
      const accept = (opened: Open) => {
        // It was asked for before.
        if (isDraining) return refuse(socket, 503, [], "the server is stopping");
        server.handleUpgrade(req, socket, head, (ws) => {
          new Connection(deps, ws, socket).serve(opened);
        });
      };
      route.answer({
        headers: request,
        target,
        connection,
        accept: (opened) => once(() => accept(opened)),
        refuse: (status, answerFields, body) => once(() => refuse(socket, status, answerFields, body)),
      });
    },
    size: () => open.size,
    drain() {
      isDraining = true;
      for (const connection of open) connection.stop();
    },
  };
}

/** Whether the client offers a subprotocol that is spoken, or leaves it to us. */
function isOffered(protocols: readonly string[], { headers }: IncomingMessage): boolean {
  const { "sec-websocket-protocol": offered } = headers;
  if (offered === undefined || protocols.length === 0) return true;
  return offered.split(",").some((protocol) => protocols.includes(protocol.trim()));
}

function refuse(socket: Socket, status: number, fields: Fields, body: string): void {
  if (socket.destroyed) return;
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`];
  const length = Buffer.byteLength(body);
  const type = fields.includes("content-type") ? [] : ["content-type", "text/plain"];
  const all = [...type, ...fields, "content-length", String(length), "connection", "close"];
  for (let i = 0; i < all.length; i += 2) lines.push(`${all[i]}: ${all[i + 1]}`);
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`);
  socket.destroySoon();
}
