import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NatsConnection } from "@nats-io/transport-node";
import { pino } from "pino";
import { afterAll, beforeAll } from "vitest";
import { findNatsServer } from "../../src/embedded/find.ts";
import { type EmbeddedBroker, type EmbeddedBrokerOptions, startEmbeddedBroker } from "../../src/embedded/start.ts";

/** What a test may choose; the rest is as the service would have it, with a silent log. */
export interface BrokerOptions extends Partial<EmbeddedBrokerOptions> {}

/** A real nats-server of a test. */
export interface TestBroker extends EmbeddedBroker {
  /** The data directory. */
  readonly dir: string;
  /** Opens a connection, which is closed with the broker. */
  connect(): Promise<NatsConnection>;
  /** Ends the broker and keeps its data: `startBroker({ dataDir: broker.dir })` goes on with it. */
  stop(): Promise<void>;
  /** Ends the broker and removes its data. */
  remove(): Promise<void>;
}

/** Starts a nats-server in a new temporary directory, or in `dataDir`. The test stops or removes it. */
export async function startBroker(options: BrokerOptions = {}): Promise<TestBroker> {
  const log = options.log ?? pino({ level: "silent" });
  const dir = options.dataDir ?? (await mkdtemp(join(tmpdir(), "mustreach-")));
  const connections: NatsConnection[] = [];
  const broker = await startEmbeddedBroker({
    maxPayloadBytes: 8_388_608,
    ...options,
    binary: options.binary ?? (await findNatsServer({ log })),
    dataDir: dir,
    log,
  });
  const stop = async () => {
    await Promise.all(connections.map((connection) => connection.close()));
    await broker.stop();
  };
  return {
    ...broker,
    // It changes when the broker restarts, and a spread would keep the first.
    get url() {
      return broker.url;
    },
    dir,
    connect: async () => {
      const connection = await broker.dial({});
      connections.push(connection);
      return connection;
    },
    stop,
    remove: async () => {
      await stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/**
 * Gives the tests of the enclosing file or `describe` a nats-server of their own, started before the first and removed
 * after the last. Its properties can be read inside tests and hooks only.
 */
export function useBroker(options: BrokerOptions = {}): TestBroker {
  let started: TestBroker | undefined;
  const broker = (): TestBroker => {
    if (started === undefined) throw new Error("useBroker: the broker runs inside tests and hooks only");
    return started;
  };
  beforeAll(async () => {
    started = await startBroker(options);
  });
  afterAll(() => started?.remove());
  return {
    get url() {
      return broker().url;
    },
    place: () => broker().place(),
    onMove: (listener) => broker().onMove(listener),
    dial: (options) => broker().dial(options),
    get dir() {
      return broker().dir;
    },
    pid: () => broker().pid(),
    connect: () => broker().connect(),
    stop: () => broker().stop(),
    remove: () => broker().remove(),
  };
}
