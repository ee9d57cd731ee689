import type { Logger } from "pino";
import type { Broker } from "../broker/connect.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { createRecords } from "../broker/reads/records.ts";
import { toPartition, toToken } from "../broker/subjects.ts";
import { sayWaiting } from "../broker/waiting-lines.ts";
import { replace, type Write, write as writeOnce } from "../broker/write.ts";
import { type Clock, systemClock } from "../clock.ts";
import { deadlineIn, leftUntil } from "../deadline.ts";
import { failure } from "../errors.ts";
import { createLimit } from "../in-flight.ts";
import type { Position } from "../inbox/lineage.ts";
import { minBatchWrites } from "../publishing/group-commit.ts";
import {
  asStored,
  type Beginning,
  type CursorEpochs,
  type CursorRecord,
  type DeviceCursor,
  decodeCursor,
  encodeCursor,
  readCursors,
  trimCursors,
} from "./device-cursors.ts";
import { cursorStream, cursorSubject, parseCursorSubject } from "./layout.ts";

/** How far each device has acknowledged. */
export interface Cursors {
  /**
   * The highest sequence that a device has acknowledged, as far as the store still has it; undefined for a device that
   * never has.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  read(userId: string, deviceId: string): Promise<number | undefined>;
  /**
   * The position that a device has acknowledged, whatever has become of the store since.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  position(userId: string, deviceId: string): Promise<Position | undefined>;
  /**
   * The cursors of all devices of some users, as stored, by user id; users without any are not in it.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  ofUsers(userIds: readonly string[]): Promise<ReadonlyMap<string, readonly DeviceCursor[]>>;
  /** How often, by now, a store was found replaced, in which cursors of these users may be further back than before. */
  replacements(userIds: readonly string[]): Promise<number>;
  /**
   * Moves a cursor forward, never back, and returns where it is as far as this instance knows. It is stored within
   * about a second.
   *
   * @param begins the device has not acknowledged what is up to there, but begins after it: whatever its cursor is
   * (`here`), or if it has none yet (`if new`). Default: it has.
   *
   * @throws NetworkError (90004) for another device when as many as {@link CursorOptions.maxUnstored} wait for the
   * broker: its acknowledgement is to be repeated, and is not forgotten without a word.
   */
  advance(userId: string, deviceId: string, sequence: number, epoch?: string, begins?: "here" | "if new"): number;
  /** How many devices' cursors are not stored yet, and since when the oldest is not, on the clock of performance.now(). */
  lag(): { readonly devices: number; readonly sinceMs: number | undefined };
  /** Stores a device's cursor now, as far as the broker allows; what fails is tried again later. */
  flush(userId: string, deviceId: string): Promise<void>;
  /** Stores all that have moved by now, as far as the broker allows. */
  flushAll(): Promise<void>;
  /** Stores all cursors that moved, and stops. */
  close(): Promise<void>;
}

interface CursorOptions {
  /** How long acknowledgements of a device are collected before they are stored, in milliseconds. Default 1,000. */
  readonly coalesceMs?: number;
  /** Devices whose cursors are ahead of what is stored, while the broker is away. Default 200,000: about 60 MB. */
  readonly maxUnstored?: number;
  /** Devices whose cursors are kept in memory besides those. Default 100,000. */
  readonly maxRecent?: number;
  /** Devices of one user whose cursors are stored; one more takes the place of the one that is idle longest. Default 100. */
  readonly maxDevicesPerUser?: number;
  /** How far a position is in the store as it is. Default: as far as its sequence says. */
  readonly epochs?: CursorEpochs | undefined;
  /** Whether the bucket has replicas. Default false. */
  readonly isReplicated?: boolean;
  /** Default: the system's. */
  readonly clock?: Clock;
  readonly log: Logger;
}

/** How long {@link Cursors.close} and the write of a cursor try, in milliseconds. */
const timeoutMs = { close: 2_000, write: 2_000 } as const;

/** Cursors that are written at a time, one by one. */
const maxWrites = 64;

/** Cursors that are read and written together: multi_last looks at most 1,024 up. */
const maxTogether = 500;

interface Moved {
  readonly user: string;
  readonly deviceId: string;
  readonly position: Position;
  readonly sinceMs: number;
  readonly begins: Beginning | undefined;
  /** The write under way; one at a time for each device. */
  writing: Promise<void> | undefined;
}

export function createCursors(broker: Broker, get: DirectGet, options: CursorOptions): Cursors {
  const { log, coalesceMs = 1_000, maxUnstored = 200_000, maxRecent = 100_000 } = options;
  const { maxDevicesPerUser: maxDevices = 100, clock = systemClock } = options;
  const { of: epochs, partitions } = options.epochs ?? asStored;
  const records = createRecords(broker, get, cursorStream, options);

  const refresh = async (users: Iterable<string>): Promise<void> => {
    const concerned = new Set([...users].map((user) => toPartition(user, partitions)));
    await Promise.all([...concerned].map((partition) => epochs.refresh(partition)));
  };

  /** Sees to it that the store is known as far as it has these positions, by user. */
  const meet = async (positions: ReadonlyMap<string, readonly Position[]>): Promise<void> => {
    await refresh(positions.keys());
    for (const [user, some] of positions) await epochs.meet(toPartition(user, partitions), some);
  };

  /** How far a position is in the store as it is known. */
  const placeOf = (user: string, position: Position) => epochs.placeOf(toPartition(user, partitions), position);

  /** The one that is further; of two that are at the same place, one that the store still has. */
  const further = (user: string, a: Position | undefined, b: Position): Position => {
    if (a === undefined) return b;
    const [placeA, placeB] = [placeOf(user, a), placeOf(user, b)];
    if (placeA === placeB) return placeA === a.sequence ? a : b;
    return placeA > placeB ? a : b;
  };

  /** What is to be stored in the place of what is; undefined when that is as far. */
  const toStore = ({ user, deviceId, position, begins }: Moved, kept: CursorRecord | undefined) => {
    if (kept !== undefined && further(user, kept.position, position) === kept.position) return undefined;
    const isBeginning =
      kept === undefined || (begins?.isOfAny && further(user, kept.position, begins.position) === begins.position);
    return encodeCursor({ deviceId, position, began: isBeginning ? begins?.position : kept.began });
  };

  /** Cursors that are ahead of the bucket, by subject. */
  const moved = new Map<string, Moved>();
  /** Where cursors were last, by subject; the least recently used first. */
  const recent = new Map<string, Position>();

  const write = async (subject: string): Promise<void> => {
    for (let target = moved.get(subject); target !== undefined; target = moved.get(subject)) {
      const { user, position } = target;
      const isNew = await replace(broker, deadlineIn(timeoutMs.write), async () => {
        await refresh([user]);
        const before = await get.last(cursorStream, subject);
        const payload = toStore(target, before && decodeCursor(before.payload));
        const writes = payload === undefined ? [] : [{ subject, payload, replaces: before?.sequence ?? 0 }];
        return { writes, answer: before === undefined };
      });
      if (isNew) await trimCursors({ broker, records, maxDevices }, user);
      if (moved.get(subject)?.position === position) moved.delete(subject);
    }
  };

  /** Stores cursors of devices that have one already, all or none; what is left in `moved` is written one by one. */
  const writeTogether = async (subjects: readonly string[]): Promise<void> => {
    const targets = new Map(subjects.map((subject) => [subject, moved.get(subject)]));
    await refresh([...targets.values()].flatMap((target) => target?.user ?? []));
    const writes: Write[] = [];
    for (const { subject, sequence: replaces, payload } of await get.lastOf(cursorStream, subjects)) {
      const target = targets.get(subject);
      const stored = target && toStore(target, decodeCursor(payload));
      if (stored !== undefined) writes.push({ subject, payload: stored, replaces });
    }
    if (writes.length < minBatchWrites) return;
    const stored = await writeOnce(broker, writes, timeoutMs.write);
    if (stored.kind === "refused") return;
    records.saw(stored.sequence);
    for (const { subject } of writes) {
      if (moved.get(subject)?.position === targets.get(subject)?.position) moved.delete(subject);
    }
  };

  const inTurn = createLimit(maxWrites);

  const sayUnstored = sayWaiting((err) =>
    log.warn({ err, cursors: moved.size }, "cannot store cursors now; they are tried again"),
  );

  const writeAfter = async (subject: string, before: Promise<void> | undefined): Promise<void> => {
    await before;
    if (moved.has(subject)) await inTurn(1, () => write(subject));
  };

  /** @param before what may store it. */
  const flushOne = (subject: string, before?: Promise<void>): Promise<void> => {
    const entry = moved.get(subject);
    if (entry === undefined) return Promise.resolve();
    entry.writing ??= writeAfter(subject, before)
      .catch(sayUnstored)
      .finally(() => {
        const current = moved.get(subject);
        if (current !== undefined) current.writing = undefined;
      });
    return entry.writing;
  };

  /** Stores those that have moved by now. */
  const flushAll = async (): Promise<void> => {
    const all = [...moved.keys()];
    for (let start = 0; start < all.length; start += maxTogether) {
      const subjects = all.slice(start, start + maxTogether);
      const free = subjects.filter((subject) => moved.get(subject)?.writing === undefined);
      // Whatever is in its way is in that of each of them, and told then.
      const together = free.length < minBatchWrites ? undefined : writeTogether(free).catch(() => {});
      await Promise.all(subjects.map((subject) => flushOne(subject, together)));
    }
  };

  let flushing: Promise<void> | undefined;
  const timer = setInterval(() => {
    if (!broker.isConnected() || flushing !== undefined) return;
    flushing = flushAll().finally(() => {
      flushing = undefined;
    });
  }, coalesceMs);

  const position = async (userId: string, deviceId: string): Promise<Position | undefined> => {
    const user = toToken(userId);
    const subject = cursorSubject(user, toToken(deviceId));
    await broker.whenConnected(deadlineIn(1_000));
    // What is stored meanwhile is ahead of what is read, and by then no longer among those that are.
    const before = moved.get(subject)?.position;
    const message = await records.of(subject);
    const kept = message && decodeCursor(message.payload).position;
    const ahead = moved.get(subject)?.position ?? before;
    return ahead === undefined ? kept : further(user, kept, ahead);
  };

  return {
    async read(userId, deviceId) {
      const kept = await position(userId, deviceId);
      if (kept === undefined) return undefined;
      const user = toToken(userId);
      await meet(Map.groupBy([kept], () => user));
      return placeOf(user, kept);
    },
    position,
    async replacements(userIds) {
      await refresh(userIds.map(toToken));
      return epochs.replacements();
    },
    advance(userId, deviceId, sequence, epoch = "", begins) {
      const user = toToken(userId);
      const subject = cursorSubject(user, toToken(deviceId));
      const ahead = moved.get(subject);
      const known = ahead?.position ?? recent.get(subject);
      const now = further(user, known, { epoch, sequence });
      if (now !== known) {
        if (ahead === undefined && moved.size >= maxUnstored) {
          throw failure("NetworkError", "too many cursors wait for the broker");
        }
        const sinceMs = ahead?.sinceMs ?? performance.now();
        const isBeginning = begins === "here" || (begins !== undefined && known === undefined);
        const beginning = isBeginning ? { position: now, isOfAny: begins === "here" } : ahead?.begins;
        moved.set(subject, { user, deviceId, position: now, begins: beginning, sinceMs, writing: ahead?.writing });
      }
      recent.delete(subject);
      recent.set(subject, now);
      for (const oldest of recent.keys()) {
        if (recent.size <= maxRecent) break;
        recent.delete(oldest);
      }
      return placeOf(user, now);
    },
    async ofUsers(userIds) {
      const byToken = new Map(userIds.map((userId) => [toToken(userId), userId]));
      const stored = (await readCursors(records, [...byToken.keys()])).map(({ subject, payload, timeMs }) => {
        return { user: parseCursorSubject(subject), storedAtMs: clock.at(timeMs), ...decodeCursor(payload) };
      });
      const found = Map.groupBy(stored, ({ user }) => user);
      await meet(new Map([...found].map(([user, cursors]) => [user, cursors.map(({ position }) => position)])));
      const toCursor = ({ user, deviceId, position, began, storedAtMs }: (typeof stored)[number]): DeviceCursor => {
        return { deviceId, sequence: placeOf(user, position), began: began && placeOf(user, began), storedAtMs };
      };
      return new Map([...found].map(([user, cursors]) => [byToken.get(user) ?? "", cursors.map(toCursor)]));
    },
    lag: () => ({ devices: moved.size, sinceMs: moved.values().next().value?.sinceMs }),
    flush: (userId, deviceId) => flushOne(cursorSubject(toToken(userId), toToken(deviceId))),
    flushAll,
    async close() {
      clearInterval(timer);
      const deadline = deadlineIn(timeoutMs.close);
      while (moved.size > 0 && broker.isConnected() && leftUntil(deadline) > 0) await flushAll();
      if (moved.size > 0)
        log.warn({ cursors: moved.size }, "stopped with cursors not stored: their devices see notifications again");
    },
  };
}
