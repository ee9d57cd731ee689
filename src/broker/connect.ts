import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { type Authenticator, connect, credsAuthenticator, type NatsConnection } from "@nats-io/transport-node";
import type { Logger } from "pino";
import { type Deadline, deadlineIn, leftUntil } from "../deadline.ts";
import { failure } from "../errors.ts";
import { type Ask, createAsk } from "./ask.ts";
import type { Dial } from "./dial.ts";
import { sayWaiting } from "./waiting-lines.ts";

export interface ConnectOptions {
  /** Addresses of the broker, `nats://` or `tls://`, with `user:password@` if the broker asks for it. */
  readonly servers: string[];
  /** Opens the connection, and may decide by itself where to and how to answer for us. Default: `connect`. */
  readonly dial?: Dial | undefined;
  /** Answers the broker's challenge. Default: by `creds`, if there are any. */
  readonly authenticator?: Authenticator | undefined;
  /** Path of a credentials file. It is read at each connect: credentials may be rotated. */
  readonly creds?: string | undefined;
  /** What the connection is for, in the broker's list of connections and in the log. Default: `mustreach`. */
  readonly name?: string;
  /** How long the broker may take to answer, with all tries, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** How long a broker that is not there yet is waited for, in milliseconds. Default: 0, not at all. */
  readonly waitMs?: number;
  readonly log: Logger;
}

/** Pause before a broker that is not there yet is tried again, in milliseconds. */
const connectRetryMs = 500;

/**
 * The client library asks the broker for a sign of life this often, in milliseconds, and gives the connection up when
 * two are missing: within {@link pingEveryMs} × 3. Another node of a cluster may be there, and a packet that was dropped
 * is sent again later than that.
 */
const pingEveryMs = 2_000;
const maxMissedPings = 2;

/** How long one address may take to take a connection before the next is tried, in milliseconds: the broker's own limit. */
const dialTimeoutMs = 2_000;

/**
 * One question to JetStream's API gets this long at most, in milliseconds: while a stream has no leader nobody answers it,
 * and the next leader does not know of it. Who wants the answer asks again.
 */
const questionTimeoutMs = 2_000;

/** One connection to the broker, which reconnects for ever. */
export interface Broker {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  /** JetStream's API; an answer is waited for 2 s at most, so {@link untilAnswered} asks again. */
  readonly jsm: JetStreamManager;
  readonly ask: Ask;
  /** How long who has no deadline of its own waits for an answer, with all tries, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** Whether the connection is up at the moment. */
  isConnected(): boolean;
  /**
   * Resolves when the connection is up: at once in the usual case.
   *
   * @throws NetworkError (90004) when it is still down at `deadline`.
   */
  whenConnected(deadline: Deadline): Promise<void>;
  /** Calls `listener` when the connection is lost: what was asked and not answered will not be. */
  onDisconnect(listener: () => void): () => void;
  /** Calls `listener` after every reconnect, when subscriptions are in force again. */
  onReconnect(listener: () => void): () => void;
  /** Sends what is buffered and closes. */
  close(): Promise<void>;
}

/**
 * Connects to the broker.
 *
 * @throws NetworkError (90004) when no server could be reached, or JetStream was not available there, within `waitMs`.
 */
export async function connectBroker(options: ConnectOptions): Promise<Broker> {
  const { log, name = "mustreach" } = options;
  const { nc, jsm } = await whenThere(options);
  const { ask, complain } = createAsk(nc);
  let connected = true;
  const waiting = new Set<() => void>();
  const reconnectListeners = new Set<() => void>();
  const disconnectListeners = new Set<() => void>();
  const watch = async () => {
    for await (const status of nc.status()) {
      if (status.type === "disconnect" || status.type === "staleConnection") {
        if (!connected) continue;
        connected = false;
        log.warn({ broker: nc.getServer(), connection: name }, "lost the connection to the broker");
        for (const listener of disconnectListeners) listener();
      } else if (status.type === "reconnect") {
        connected = true;
        log.info({ broker: nc.getServer(), connection: name }, "connected to the broker again");
        for (const resume of waiting) resume();
        // By its answer to a flush, the broker has seen the subscriptions. Without one, the next reconnect tells.
        nc.flush().then(
          () => {
            for (const listener of reconnectListeners) listener();
          },
          () => {},
        );
      } else if (status.type === "error") {
        complain(status.error);
        log.warn({ err: status.error }, "the broker reported an error");
      }
    }
  };
  watch().catch((err: unknown) => log.error({ err }, "cannot watch the connection to the broker"));

  return {
    nc,
    ask,
    js: jetstream(nc, { timeout: options.requestTimeoutMs }),
    jsm,
    requestTimeoutMs: options.requestTimeoutMs,
    isConnected: () => connected,
    async whenConnected(deadline) {
      if (connected) return;
      await new Promise<void>((resolve, reject) => {
        const done = () => {
          clearTimeout(timer);
          waiting.delete(done);
          resolve();
        };
        const timer = setTimeout(() => {
          waiting.delete(done);
          reject(failure("NetworkError", "the broker cannot be reached"));
        }, leftUntil(deadline));
        waiting.add(done);
      });
    },
    onDisconnect(listener) {
      disconnectListeners.add(listener);
      return () => disconnectListeners.delete(listener);
    },
    onReconnect(listener) {
      reconnectListeners.add(listener);
      return () => reconnectListeners.delete(listener);
    },
    async close() {
      if (nc.isClosed()) return;
      // A drain waits for the broker; without one it would wait for ever.
      await (connected ? nc.drain() : nc.close());
    },
  };
}

/**
 * An instance's connections to the broker. What waits on one does not hold up the others: a mass of inbox reads leaves
 * the pings, the signals and the acknowledgements of sends alone.
 */
export interface Connections {
  /** Signals between instances, online pushes, jobs and the declaration of streams. */
  readonly signals: Broker;
  /** Direct gets: inboxes, cursors, records. */
  readonly reads: Broker;
  /** Writes that are acknowledged. */
  readonly writes: Broker;
  /** Whether all of them are up at the moment. */
  isConnected(): boolean;
  /** Sends what is buffered and closes all of them. */
  close(): Promise<void>;
}

/**
 * Connects to the broker, for each kind of work once.
 *
 * @throws NetworkError (90004) as {@link connectBroker}.
 */
export async function openConnections(options: Omit<ConnectOptions, "name">): Promise<Connections> {
  const opened: Broker[] = [];
  const open = async (name: string) => {
    const broker = await connectBroker({ ...options, name });
    opened.push(broker);
    return broker;
  };
  const close = async () => {
    await Promise.all(opened.map((broker) => broker.close()));
  };
  try {
    return {
      // One after the other: with a broker that is not there yet, one line of the log says so.
      signals: await open("mustreach"),
      reads: await open("mustreach reads"),
      writes: await open("mustreach writes"),
      isConnected: () => opened.every((broker) => broker.isConnected()),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

type Connected = Pick<Broker, "nc" | "jsm">;

/** Connects as soon as the broker is there. */
async function whenThere(options: ConnectOptions): Promise<Connected> {
  const deadline = deadlineIn(options.waitMs ?? 0);
  const say = sayWaiting((err) => options.log.warn({ err }, "waiting for the broker"));
  for (;;) {
    try {
      return await connectOnce(options);
    } catch (err) {
      if (leftUntil(deadline) < connectRetryMs) throw err;
      say(err);
      await delay(connectRetryMs);
    }
  }
}

async function connectOnce(options: ConnectOptions): Promise<Connected> {
  const nc = await openConnection(options);
  const timeout = Math.min(questionTimeoutMs, options.requestTimeoutMs);
  const jsm = await jetstreamManager(nc, { timeout }).catch(async (cause: unknown) => {
    await nc.close();
    throw failure("NetworkError", "the broker answers, but JetStream is not enabled for this account", cause);
  });
  return { nc, jsm };
}

/**
 * Connects, and asks for nothing.
 *
 * @throws NetworkError (90004) when no server could be reached.
 */
export async function openConnection(options: ConnectOptions): Promise<NatsConnection> {
  const { dial = connect, creds } = options;
  const { servers, user, pass } = splitCredentials(options.servers);
  const authenticator = options.authenticator ?? (creds === undefined ? undefined : fromFile(creds));
  return await dial({
    servers,
    name: options.name ?? "mustreach",
    ...(user === undefined ? {} : { user, pass: pass ?? "" }),
    ...(authenticator === undefined ? {} : { authenticator }),
    timeout: Math.min(dialTimeoutMs, options.requestTimeoutMs),
    // An error with its stack for each request, for the case that it fails.
    noAsyncTraces: true,
    maxReconnectAttempts: -1,
    // Two refusals in a row would otherwise close the connection for good, although an auth service that restarts, or
    // credentials that are being rotated, refuse for a while.
    ignoreAuthErrorAbort: true,
    reconnectTimeWait: 200,
    reconnectJitter: 100,
    pingInterval: pingEveryMs,
    maxPingOut: maxMissedPings,
  }).catch((cause: unknown) => {
    throw failure("NetworkError", `the broker at ${servers.join(", ")} cannot be reached`, cause);
  });
}

/** Credentials as the file has them at each connect; while it cannot be used, in the middle of a rotation, as before. */
function fromFile(path: string): Authenticator {
  let last: Authenticator | undefined;
  return (nonce) => {
    try {
      const current = credsAuthenticator(readFileSync(path));
      const answer = current(nonce);
      last = current;
      return answer;
    } catch (error) {
      // What an authenticator throws closes the connection for good.
      if (last === undefined) throw error;
      return last(nonce);
    }
  };
}

/** Takes `user:password@` out of addresses: the client library does not read it there, and a log must not show it. */
function splitCredentials(given: readonly string[]): { servers: string[]; user?: string; pass?: string } {
  let user: string | undefined;
  let pass: string | undefined;
  const servers = given.map((server) => {
    const [, scheme = "", name, password, rest = ""] =
      /^(\w+:\/\/)?(?:([^:@/]*)(?::([^@/]*))?@)?(.*)$/.exec(server) ?? [];
    if (name !== undefined) user = decodeURIComponent(name);
    if (password !== undefined) pass = decodeURIComponent(password);
    return scheme + rest;
  });
  return { servers, ...(user !== undefined && { user }), ...(pass !== undefined && { pass }) };
}
