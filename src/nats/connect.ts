import { readFile } from "node:fs/promises";
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, credsAuthenticator, type NatsConnection } from "@nats-io/transport-node";
import type { Logger } from "pino";
import { failure } from "../errors.ts";

/** Options of {@link connectBroker}. */
export interface ConnectOptions {
  /** Addresses of the broker, `nats://` or `tls://`, with `user:password@` if the broker asks for it. */
  readonly servers: string[];
  /** User name and password, for the embedded broker. */
  readonly user?: string | undefined;
  readonly pass?: string | undefined;
  /** Path of a credentials file. */
  readonly creds?: string | undefined;
  /** How long a single request to the broker may take, in milliseconds. */
  readonly requestTimeoutMs: number;
  readonly log: Logger;
}

/** One connection to the broker, which reconnects for ever. */
export interface Broker {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  /** Whether the connection is up at the moment. */
  isConnected(): boolean;
  /**
   * Resolves when the connection is up: at once in the usual case.
   *
   * @throws NetworkError (90004) when it is still down at `deadlineMs` (epoch milliseconds).
   */
  whenConnected(deadlineMs: number): Promise<void>;
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
 * @throws NetworkError (90004) when no server can be reached or JetStream is not enabled there.
 */
export async function connectBroker(options: ConnectOptions): Promise<Broker> {
  const { log } = options;
  const { servers, user, pass } = splitCredentials(options);
  const nc = await connect({
    servers,
    name: "mustreach",
    ...(user === undefined ? {} : { user, pass: pass ?? "" }),
    ...(options.creds === undefined ? {} : { authenticator: credsAuthenticator(await readFile(options.creds)) }),
    timeout: options.requestTimeoutMs,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 200,
    reconnectJitter: 100,
    // Two missed pings: a silent broker is given up after 10 s at most.
    pingInterval: 5_000,
    maxPingOut: 2,
  }).catch((cause: unknown) => {
    throw failure("NetworkError", `the broker at ${servers.join(", ")} cannot be reached`, cause);
  });
  const jsm = await jetstreamManager(nc, { timeout: options.requestTimeoutMs }).catch(async (cause: unknown) => {
    await nc.close();
    throw failure("NetworkError", "the broker answers, but JetStream is not enabled for this account", cause);
  });

  let connected = true;
  const waiting = new Set<() => void>();
  const reconnectListeners = new Set<() => void>();
  const disconnectListeners = new Set<() => void>();
  const watch = async () => {
    for await (const status of nc.status()) {
      if (status.type === "disconnect" || status.type === "staleConnection") {
        if (!connected) continue;
        connected = false;
        log.warn({ broker: nc.getServer() }, "lost the connection to the broker");
        for (const listener of disconnectListeners) listener();
      } else if (status.type === "reconnect") {
        connected = true;
        log.info({ broker: nc.getServer() }, "connected to the broker again");
        for (const resume of waiting) resume();
        for (const listener of reconnectListeners) listener();
      } else if (status.type === "error") {
        log.warn({ err: status.error }, "the broker reported an error");
      }
    }
  };
  watch().catch((err: unknown) => log.error({ err }, "cannot watch the connection to the broker"));

  return {
    nc,
    js: jetstream(nc, { timeout: options.requestTimeoutMs }),
    jsm,
    isConnected: () => connected,
    async whenConnected(deadlineMs) {
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
        }, deadlineMs - Date.now());
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

/** Takes `user:password@` out of addresses: the client library does not read it there, and a log must not show it. */
function splitCredentials(options: ConnectOptions): Pick<ConnectOptions, "servers" | "user" | "pass"> {
  let { user, pass } = options;
  const servers = options.servers.map((server) => {
    const [, scheme = "", name, password, rest = ""] =
      /^(\w+:\/\/)?(?:([^:@/]*)(?::([^@/]*))?@)?(.*)$/.exec(server) ?? [];
    if (name !== undefined) user = decodeURIComponent(name);
    if (password !== undefined) pass = decodeURIComponent(password);
    return scheme + rest;
  });
  return { servers, user, pass };
}
