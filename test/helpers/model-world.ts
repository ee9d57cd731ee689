import { setTimeout as delay } from "node:timers/promises";
import { type Client, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { jetstreamManager } from "@nats-io/jetstream";
import { fromConnectError } from "../../src/client/connect/error.ts";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { DeliveryService } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { GroupService } from "../../src/gen/mustreach/directory/v1/directory_pb.ts";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { startExternalBroker } from "./external-broker.ts";
import type { Call } from "./model-history.ts";
import { type ServiceProcess, startProcess } from "./process.ts";
import type { TestSettings } from "./server.ts";

/** A call gets this long, in milliseconds; the service answers sooner, if it does. */
const callTimeoutMs = 10_000;

/** A seeded source of choices. */
export interface Random {
  /** 0 up to 1. */
  (): number;
  /** A whole number from `min` to `max`. */
  between(min: number, max: number): number;
  /** Whether something with this probability happens. */
  chance(probability: number): boolean;
  pick<T>(from: readonly T[]): T;
}

/** Creates a source that depends on the seed and the name alone (mulberry32). */
export function createRandom(seed: number, name: string): Random {
  let state = seed;
  for (const char of name) state = Math.imul(state ^ char.charCodeAt(0), 0x01000193);
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  return Object.assign(random, {
    between: (min: number, max: number) => min + Math.floor(random() * (max - min + 1)),
    chance: (probability: number) => random() < probability,
    pick<T>(from: readonly T[]): T {
      const picked = from[Math.floor(random() * from.length)];
      if (picked === undefined) throw new RangeError("there is nothing to pick from");
      return picked;
    },
  });
}

/** A way to an instance that runs, or ran. */
export interface Door {
  readonly name: string;
  readonly url: string;
  readonly msg: Client<typeof MsgService>;
  readonly groups: Client<typeof GroupService>;
  readonly delivery: Client<typeof DeliveryService>;
}

/** Two instances on one broker, each of which can be killed and started again on its data. */
export interface World {
  /** The doors of both instances. */
  doors(): readonly [Door, Door];
  /** The door of an instance that runs, as far as there is one; now and then any, as a client that does not know yet. */
  pickDoor(random: Random): Door;
  /** Milliseconds since the world began. */
  now(): number;
  adminToken: string;
  userToken(userId: string): Promise<string>;
  killService(index: 0 | 1, signal?: NodeJS.Signals): Promise<void>;
  startService(index: 0 | 1): Promise<void>;
  killBroker(): Promise<void>;
  startBroker(): Promise<void>;
  /** Resolves when no group send waits; rejects after a minute. */
  whenExpanded(): Promise<void>;
  /** What the instances logged as errors. */
  errors(): readonly string[];
  /** Makes a call, and tells how it came out. `work` resolves to the server's id of what was sent, if any. */
  call(by: string, door: Door, work: (options: CallOptions) => Promise<string>): Promise<Call>;
  remove(): Promise<void>;
}

/** What every call of an admin has. */
export interface CallOptions {
  readonly headers: { readonly token: string };
  readonly timeoutMs: number;
}

/** Starts a world. */
export async function startWorld(settings: TestSettings): Promise<World> {
  const broker = await startExternalBroker();
  const start = (dataDir?: string) => startProcess({ ...settings, NATS_URL: broker.url }, dataDir);
  const services = await Promise.all([start(), start()]).catch(async (error: unknown) => {
    await broker.remove();
    throw error;
  });
  const past: ServiceProcess[] = [...services];
  const closers: (() => void)[] = [];
  const down = new Set<number>();
  const beganAt = performance.now();
  const now = () => performance.now() - beganAt;

  const openDoor = (index: number, { url }: ServiceProcess): Door => {
    const sessionManager = new Http2SessionManager(url);
    closers.push(() => sessionManager.abort());
    const transport = createGrpcTransport({ baseUrl: url, sessionManager });
    return {
      name: `instance ${index}`,
      url,
      msg: createClient(MsgService, transport),
      groups: createClient(GroupService, transport),
      delivery: createClient(DeliveryService, transport),
    };
  };
  const doors: [Door, Door] = [openDoor(0, services[0]), openDoor(1, services[1])];
  const adminToken = await services[0].adminToken();

  return {
    doors: () => doors,
    pickDoor(random) {
      const open = doors.filter((_, index) => !down.has(index));
      return random.pick(open.length === 0 || random.chance(0.1) ? doors : open);
    },
    now,
    adminToken,
    userToken: (userId) => services[0].userToken(userId),
    async killService(index, signal = "SIGKILL") {
      down.add(index);
      await services[index].kill(signal);
    },
    async startService(index) {
      // The broker may be away at the moment.
      for (let tries = 1; ; tries++) {
        try {
          services[index] = await start(services[index].dataDir);
          break;
        } catch (error) {
          if (tries === 10) throw error;
          await delay(200);
        }
      }
      past.push(services[index]);
      doors[index] = openDoor(index, services[index]);
      down.delete(index);
    },
    killBroker: broker.pause,
    startBroker: broker.resume,
    async whenExpanded() {
      const nc = await broker.connect();
      const jsm = await jetstreamManager(nc);
      let waiting = Number.POSITIVE_INFINITY;
      for (const deadline = Date.now() + 60_000; Date.now() < deadline; await delay(50)) {
        waiting = (await jsm.streams.info("FANOUT")).state.messages;
        if (waiting === 0) return;
      }
      throw new Error(`${waiting} group sends were not expanded in a minute`);
    },
    errors: () =>
      past.flatMap(({ log }) => log.filter(({ level }) => Number(level) >= 50).map((line) => JSON.stringify(line))),
    async call(by, door, work) {
      const startedAt = now();
      const caller = `${by} (${door.name})`;
      try {
        const serverMsgId = await work({ headers: { token: adminToken }, timeoutMs: callTimeoutMs });
        return { by: caller, startedAt, endedAt: now(), outcome: "accepted", errCode: 0, serverMsgId };
      } catch (error) {
        // A stream that is cut off while an instance stops is "internal" to Connect, but says nothing of the service's.
        const isAnswer = error instanceof ConnectError && error.findDetails(ErrorInfoSchema).length > 0;
        const errCode = isAnswer ? fromConnectError(error).errCode : 90_004;
        const outcome = errCode === 90004 || errCode === 500 ? "unknown" : "refused";
        return { by: caller, startedAt, endedAt: now(), outcome, errCode, serverMsgId: "" };
      }
    },
    async remove() {
      for (const close of closers) close();
      await Promise.all(services.map((service) => service.remove()));
      await broker.remove();
    },
  };
}
