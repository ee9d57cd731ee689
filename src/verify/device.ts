import { setTimeout as delay } from "node:timers/promises";
import { toClientError } from "../client/wire/error.ts";
import type { Acknowledgement, DeviceHistory, DeviceKind, SessionEvent, SessionHistory } from "./check/history.ts";
import { type Deployment, pickInstance } from "./deployment.ts";
import type { ReceiveDoor } from "./doors/receive-doors.ts";
import type { Random } from "./random.ts";
import { placeOf, toSessionEvent } from "./session-event.ts";

/** Options of {@link createDevice}. */
export interface DeviceOptions {
  readonly deployment: Deployment;
  readonly userId: string;
  readonly deviceId: string;
  readonly kind: DeviceKind;
  /** The ways by which it receives, each time another. */
  readonly doors: readonly ReceiveDoor[];
  /** Whether it is never away or stuck by itself. */
  readonly isSteady: boolean;
  readonly random: Random;
  /** The clock of the history. */
  readonly now: () => number;
  /** The `data` of what was sent, by the service's id of it, as far as its senders and other devices know. */
  readonly dataById: Map<string, string>;
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
 * not all has come that waited when the session began, the broker may only be slow; of what has expired, or is for another
 * device, less comes.
 */
const idleHeartbeats = 2;
/** OpenIM's gateway gives a sign of life also while it is still reading. */
const idlePongs = 4;
const busyHeartbeats = 5;

const drainTimeoutMs = 120_000;

/** Refusals that a service may give to anybody that is busy, stopping, or whose clock is behind, by their codes. */
const mayComeOfAnything: ReadonlySet<number> = new Set([429, 1504, 90_004, 90_103]);

/** Where a device began: the events before it come as one heartbeat. */
const nothing = { case: undefined } as const;

/** Creates a device, which does nothing yet. */
export function createDevice(options: DeviceOptions): Device {
  const { deployment, userId, deviceId, kind, doors, isSteady, random, now, dataById } = options;
  const history: DeviceHistory = { userId, deviceId, kind, sessions: [], acknowledged: [] };
  // OpenIM's SDKs call back as frames come: no app holds them up.
  const mayStick = !isSteady && kind !== "openim";
  /** By its own record, everything up to here has been handled. */
  let handled = { sequence: 0n, epoch: "" };

  /** Tells the service, in whatever way, that everything up to a sequence is handled. */
  const tell = (sequence: number): Acknowledgement => {
    const last = history.acknowledged.at(-1);
    if (last !== undefined && sequence <= last.sequence) return last;
    const acknowledgement = { sequence, at: now(), until: Number.POSITIVE_INFINITY };
    if (kind !== "openim") history.acknowledged.push(acknowledgement);
    return acknowledgement;
  };
  const toldSequence = () => history.acknowledged.at(-1)?.sequence ?? 0;

  const open = async (window: number, ended: AbortSignal) => {
    const instance = pickInstance(deployment, random);
    const door = random.pick(doors);
    const openedAt = now();
    const toldBefore = toldSequence();
    const keepsRecord = door.record === "always" || (door.record === "sometimes" && random.chance(0.5));
    const hasRecord = keepsRecord && handled.sequence > 0n;
    const after = hasRecord ? { afterSequence: handled.sequence, epoch: handled.epoch } : {};
    const afterSequence = hasRecord ? Number(handled.sequence) : undefined;
    if (afterSequence !== undefined) tell(afterSequence);
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
    const end = (why: string) => {
      kill();
      if (record.end !== "") return;
      record.endedAt = now();
      record.end = why;
    };

    return {
      kill: () => end("the device ended it"),
      /** How many events waited for the device. */
      pending: Number(first.value.pending),
      /** The kind of the next event; undefined when the session has ended. */
      async next(): Promise<SessionEvent["kind"] | "heartbeat" | undefined> {
        try {
          const event = await session.next();
          if (event?.case === "notification") dataById.set(event.value.serverMsgId, event.value.data);
          if (event?.case === "heartbeat" || (event !== undefined && event.case === nothing.case)) return "heartbeat";
          const seen = toSessionEvent(event, now(), (id) => dataById.get(id) ?? `unknown ${id}`);
          if (seen !== undefined) {
            record.events.push(seen);
            const place = placeOf(event);
            if (place.sequence > handled.sequence) handled = place;
            return seen.kind;
          }
          end(event?.case === "reconnect" ? "asked to connect again" : "the stream ended");
        } catch (error) {
          const { errMsg, errDlt } = toClientError(error);
          end(`${errMsg}: ${errDlt}`);
        }
        return undefined;
      },
      /** Acknowledges everything handled. */
      async acknowledge() {
        if (handled.sequence === 0n) return;
        const place = handled;
        const acknowledgement = tell(Number(place.sequence));
        try {
          await session.acknowledge(place);
          if (door.isAckAnswered && acknowledgement.sequence === Number(place.sequence)) {
            acknowledgement.until = Math.min(acknowledgement.until, now());
          }
        } catch (error) {
          const { errCode, errDlt } = toClientError(error);
          if (mayComeOfAnything.has(errCode) || signal.aborted) return;
          const about = `${instance.name} refused the acknowledgement of ${place.sequence}: ${errCode} ${errDlt}`;
          record.events.push({ at: now(), kind: "other", sequence: 0, about });
        }
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
          if (mayStick && random.chance(0.02))
            await delay(random.between(minStuckMs, maxStuckMs), undefined, { signal }).catch(() => {});
          void session.acknowledge();
        }
        clearTimeout(timer);
      }
    },

    async drain() {
      const idle = kind === "openim" ? idlePongs : idleHeartbeats;
      const deadline = performance.now() + drainTimeoutMs;
      for (; ; await delay(200)) {
        const session = await open(1_000, AbortSignal.timeout(drainTimeoutMs)).catch(() => undefined);
        let heartbeats = 0;
        let unacknowledged = 0;
        let events = 0;
        const isDone = () => heartbeats >= (events < (session?.pending ?? 0) ? busyHeartbeats : idle);
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
