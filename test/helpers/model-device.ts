import { setTimeout as delay } from "node:timers/promises";
import { fromConnectError } from "../../src/client/connect/error.ts";
import type { DeviceEvent, useDevices } from "./device.ts";
import type { DeviceHistory, SessionEvent, SessionHistory } from "./model-history.ts";
import type { Door, Random, World } from "./model-world.ts";

/** Options of {@link createModelDevice}. */
export interface ModelDeviceOptions {
  readonly world: World;
  readonly userId: string;
  readonly deviceId: string;
  readonly random: Random;
  readonly openDevice: ReturnType<typeof useDevices>;
  /** The `data` of what was sent, by the service's id of it. */
  readonly dataOf: (serverMsgId: string) => string;
}

/** A device that keeps its own record of what it has handled, and uses it or the service's. */
export interface ModelDevice {
  readonly history: DeviceHistory;
  /** Connects, loses its connection and connects again, until `signal` is aborted. */
  live(signal: AbortSignal): Promise<void>;
  /** Connects once more and reads all there is. Rejects after a minute. */
  drain(): Promise<void>;
}

/** How long a session lives, in milliseconds. */
const [minLifeMs, maxLifeMs] = [200, 5_000];

/**
 * So many heartbeats in a row say that there is nothing more. Before the first, the window may have been full. While not
 * all has come that waited when the session began, the broker may only be slow; of what has expired, less comes.
 */
const idleHeartbeats = 2;
const busyHeartbeats = 15;

/** An acknowledgement gets this long, in milliseconds. */
const ackTimeoutMs = 5_000;

/** Creates a device, which does nothing yet. */
export function createModelDevice(options: ModelDeviceOptions): ModelDevice {
  const { world, userId, deviceId, random, openDevice, dataOf } = options;
  const history: DeviceHistory = { userId, deviceId, sessions: [] };
  /** By its own record, everything up to here has been handled. */
  let handled = 0;
  /** The highest sequence that it has told the service. */
  let told = 0;

  const open = async (door: Door, window: number) => {
    const openedAt = world.now();
    const toldBefore = told;
    const afterSequence = handled > 0 && random.chance(0.5) ? handled : undefined;
    told = Math.max(told, afterSequence ?? 0);
    const token = await world.userToken(userId);
    const device = openDevice(door.url, token, deviceId);
    const after = afterSequence === undefined ? {} : { afterSequence: BigInt(afterSequence) };
    const session = await device.subscribe({ ...after, window }).catch((error: unknown) => {
      device.kill();
      throw error;
    });
    const record: SessionHistory = {
      openedAt,
      on: door.name,
      afterSequence,
      resumeSequence: Number(session.ready.resumeSequence),
      toldBefore,
      events: [],
      endedAt: Number.POSITIVE_INFINITY,
      end: "",
    };
    history.sessions.push(record);

    return {
      kill: device.kill,
      /** How many events waited for the device. */
      pending: Number(session.ready.pending),
      /** The kind of the next event; undefined when the session has ended. */
      async next(): Promise<SessionEvent["kind"] | "heartbeat" | undefined> {
        try {
          const event = await session.next();
          if (event?.case === "heartbeat") return "heartbeat";
          const seen = toSessionEvent(event, world.now(), dataOf);
          if (seen !== undefined) {
            record.events.push(seen);
            handled = Math.max(handled, seen.sequence);
            return seen.kind;
          }
          record.end = event?.case === "reconnect" ? event.value.reason : "the stream ended";
        } catch (error) {
          const { errMsg, errDlt } = fromConnectError(error);
          record.end = `${errMsg}: ${errDlt}`;
        }
        record.endedAt = world.now();
        return undefined;
      },
      /** Acknowledges everything handled, mostly where the session is. */
      async acknowledge() {
        const sequence = handled;
        if (sequence === 0) return;
        told = Math.max(told, sequence);
        const { delivery, name } = random.chance(0.8) ? door : random.pick(world.doors());
        const request = { deviceId, sequence: BigInt(sequence) };
        await delivery.ack(request, { headers: { token }, timeoutMs: ackTimeoutMs }).catch((error: unknown) => {
          const { errCode, errDlt } = fromConnectError(error);
          if (errCode === 90004) return;
          const about = `${name} refused the acknowledgement of ${sequence}: ${errCode} ${errDlt}`;
          record.events.push({ at: world.now(), kind: "other", sequence: 0, about });
        });
      },
    };
  };

  return {
    history,

    async live(signal) {
      while (!signal.aborted) {
        const window = random.pick([1, 3, 64, 1_000]);
        const every = Math.min(window, random.pick([1, 5, 20]));
        const lifeMs = random.between(minLifeMs, maxLifeMs);
        const session = await open(world.pickDoor(random), window).catch(() => undefined);
        if (session === undefined) {
          await delay(random.between(50, 300));
          continue;
        }
        const timer = setTimeout(session.kill, lifeMs);
        signal.addEventListener("abort", session.kill);
        let unacknowledged = 0;
        for (let kind = await session.next(); kind !== undefined; kind = await session.next()) {
          if (kind !== "heartbeat" && ++unacknowledged < every) continue;
          unacknowledged = 0;
          void session.acknowledge();
        }
        clearTimeout(timer);
        signal.removeEventListener("abort", session.kill);
        session.kill();
      }
    },

    async drain() {
      for (const deadline = performance.now() + 60_000; ; await delay(200)) {
        const session = await open(world.pickDoor(random), 1_000).catch(() => undefined);
        let heartbeats = 0;
        let unacknowledged = 0;
        let events = 0;
        const isDone = () => heartbeats >= (events < (session?.pending ?? 0) ? busyHeartbeats : idleHeartbeats);
        while (session !== undefined && !isDone() && performance.now() < deadline) {
          const kind = await session.next();
          if (kind === undefined) break;
          heartbeats = kind === "heartbeat" ? heartbeats + 1 : 0;
          if (kind !== "heartbeat") events++;
          if (kind !== "heartbeat" && ++unacknowledged < 200) continue;
          unacknowledged = 0;
          await session.acknowledge();
        }
        session?.kill();
        if (isDone()) return;
        if (performance.now() > deadline)
          throw new Error(`${deviceId} of ${userId} has not read everything in a minute`);
      }
    },
  };
}

function toSessionEvent(
  event: DeviceEvent | undefined,
  at: number,
  dataOf: (serverMsgId: string) => string,
): SessionEvent | undefined {
  if (event === undefined) return undefined;
  switch (event.case) {
    case "notification": {
      const { sequence, data, reliabilityLevel: level } = event.value;
      return { at, kind: level === 1 ? "push" : "notification", sequence: Number(sequence), data };
    }
    case "recall": {
      const { sequence, serverMsgId } = event.value;
      return { at, kind: "recall", sequence: Number(sequence), data: dataOf(serverMsgId) };
    }
    case "gap": {
      const { from, to, reason } = event.value;
      return { at, kind: "gap", sequence: Number(to), about: `${from} to ${to}, reason ${reason}` };
    }
    case "message": {
      const { sequence = 0n, data = "" } = event.value.notification ?? {};
      return { at, kind: "message", sequence: Number(sequence), data };
    }
    default:
      return undefined;
  }
}
