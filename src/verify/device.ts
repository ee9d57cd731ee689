import { setTimeout as delay } from "node:timers/promises";
import { toClientError } from "../client/wire/error.ts";
import type { SessionEvent as DeviceEvent } from "../client/wire/event.ts";
import type { DeviceHistory, SessionEvent, SessionHistory } from "./check/history.ts";
import { type Deployment, pickInstance } from "./deployment.ts";
import { receiveDoors } from "./doors/receive-doors.ts";
import type { Random } from "./random.ts";

/** Options of {@link createDevice}. */
export interface DeviceOptions {
  readonly deployment: Deployment;
  readonly userId: string;
  readonly deviceId: string;
  /** Whether it is never away or stuck by itself. */
  readonly isSteady: boolean;
  readonly random: Random;
  /** The clock of the history. */
  readonly now: () => number;
  /** The `data` of what was sent, by the service's id of it. */
  readonly dataOf: (serverMsgId: string) => string;
}

/** A device that keeps its own record of what it has handled, and uses it or the service's. */
export interface Device {
  readonly history: DeviceHistory;
  /** Connects, loses its connection and connects again, each time by another door, until `signal` is aborted. */
  live(signal: AbortSignal): Promise<void>;
  /** Connects once more and reads all there is. Rejects after two minutes. */
  drain(): Promise<void>;
}

/** How long a session lives, in milliseconds; some live until something ends them. */
const [minLifeMs, maxLifeMs] = [200, 5_000];
const steadyShare = 0.2;

/** A device that has got stuck reads nothing for this long, in milliseconds. */
const [minStuckMs, maxStuckMs] = [500, 4_000];

/**
 * So many signs of life in a row say that there is nothing more. Before the first, the window may have been full. While
 * not all has come that waited when the session began, the broker may only be slow; of what has expired, less comes.
 */
const idleHeartbeats = 2;
const busyHeartbeats = 15;

const drainTimeoutMs = 120_000;

/** Where a device began: the events before it come as one heartbeat. */
const nothing = { case: undefined } as const;

/** Creates a device, which does nothing yet. */
export function createDevice(options: DeviceOptions): Device {
  const { deployment, userId, deviceId, isSteady, random, now, dataOf } = options;
  const history: DeviceHistory = { userId, deviceId, sessions: [] };
  /** By its own record, everything up to here has been handled. */
  let handled = { sequence: 0n, epoch: "" };
  /** The highest sequence that it has told the service. */
  let told = 0;

  const open = async (window: number, ended: AbortSignal) => {
    const instance = pickInstance(deployment, random);
    const door = random.pick(receiveDoors);
    const openedAt = now();
    const toldBefore = told;
    const keepsRecord = handled.sequence > 0n && random.chance(0.5);
    const after = keepsRecord ? { afterSequence: handled.sequence, epoch: handled.epoch } : {};
    const afterSequence = keepsRecord ? Number(handled.sequence) : undefined;
    told = Math.max(told, afterSequence ?? 0);
    const token = await deployment.userToken(userId);
    const killing = new AbortController();
    const signal = AbortSignal.any([killing.signal, ended]);
    const kill = () => killing.abort();
    const session = door.open(instance.url, { deviceId, window, start: 0, ...after }, { token, signal });
    const first = await session.next().catch((error: unknown) => {
      kill();
      throw error;
    });
    if (first?.case !== "ready") {
      kill();
      throw new Error(`${door.name} began with ${first?.case ?? "its end"}`);
    }
    const record: SessionHistory = {
      openedAt,
      on: `${instance.name} by ${door.name}`,
      afterSequence,
      resumeSequence: Number(first.value.resumeSequence),
      toldBefore,
      events: [],
      endedAt: Number.POSITIVE_INFINITY,
      end: "",
    };
    history.sessions.push(record);

    return {
      kill,
      /** How many events waited for the device. */
      pending: Number(first.value.pending),
      /** The kind of the next event; undefined when the session has ended. */
      async next(): Promise<SessionEvent["kind"] | "heartbeat" | undefined> {
        try {
          const event = await session.next();
          if (event?.case === "heartbeat" || (event !== undefined && event.case === nothing.case)) return "heartbeat";
          const seen = toSessionEvent(event, now(), dataOf);
          if (seen !== undefined) {
            record.events.push(seen);
            const place = placeOf(event);
            if (place.sequence > handled.sequence) handled = place;
            return seen.kind;
          }
          record.end = event?.case === "reconnect" ? "asked to connect again" : "the stream ended";
        } catch (error) {
          const { errMsg, errDlt } = toClientError(error);
          record.end = `${errMsg}: ${errDlt}`;
        }
        record.endedAt = now();
        kill();
        return undefined;
      },
      /** Acknowledges everything handled. */
      async acknowledge() {
        if (handled.sequence === 0n) return;
        const place = handled;
        if (told < Number(place.sequence)) history.acknowledgements = (history.acknowledgements ?? 0) + 1;
        told = Math.max(told, Number(place.sequence));
        await session.acknowledge(place).catch((error: unknown) => {
          const { errCode, errDlt } = toClientError(error);
          if (errCode === 90_004 || signal.aborted) return;
          const about = `${instance.name} refused the acknowledgement of ${place.sequence}: ${errCode} ${errDlt}`;
          record.events.push({ at: now(), kind: "other", sequence: 0, about });
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
        const lifeMs = isSteady || random.chance(steadyShare) ? undefined : random.between(minLifeMs, maxLifeMs);
        const session = await open(window, signal).catch(() => undefined);
        if (session === undefined) {
          await delay(random.between(50, 300));
          continue;
        }
        const timer = lifeMs === undefined ? undefined : setTimeout(session.kill, lifeMs);
        let unacknowledged = 0;
        for (let kind = await session.next(); kind !== undefined; kind = await session.next()) {
          if (kind !== "heartbeat" && ++unacknowledged < every) continue;
          unacknowledged = 0;
          if (!isSteady && random.chance(0.02))
            await delay(random.between(minStuckMs, maxStuckMs), undefined, { signal }).catch(() => {});
          void session.acknowledge();
        }
        clearTimeout(timer);
      }
    },

    async drain() {
      const deadline = performance.now() + drainTimeoutMs;
      for (; ; await delay(200)) {
        const session = await open(1_000, AbortSignal.timeout(drainTimeoutMs)).catch(() => undefined);
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
          throw new Error(`${deviceId} of ${userId} has not read everything in ${drainTimeoutMs / 1_000} s`);
      }
    },
  };
}

/** What a device records of what it has handled. */
function placeOf(event: DeviceEvent | undefined) {
  switch (event?.case) {
    case "notification":
    case "recall":
      return { sequence: event.value.sequence, epoch: event.value.epoch };
    case "message":
      return { sequence: event.value.notification?.sequence ?? 0n, epoch: event.value.notification?.epoch ?? "" };
    case "gap":
      return { sequence: event.value.to, epoch: event.value.epoch };
    default:
      return { sequence: 0n, epoch: "" };
  }
}

function toSessionEvent(
  event: DeviceEvent | undefined,
  at: number,
  dataOf: (serverMsgId: string) => string,
): SessionEvent | undefined {
  switch (event?.case) {
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
