import { JetStreamApiCodes, JetStreamApiError, StorageType } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import type { Logger } from "pino";
import { failure } from "../errors.ts";
import type { Broker } from "./connect.ts";
import { cursorKey, toToken } from "./subjects.ts";

/** How far each device has acknowledged. */
export interface Cursors {
  /**
   * The highest sequence that a device has acknowledged; undefined for a device that never has.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  read(userId: string, deviceId: string): Promise<number | undefined>;
  /** Moves a cursor forward, never back. Returns at once; it is stored within about a second. */
  advance(userId: string, deviceId: string, sequence: number): void;
  /** Stores a device's cursor now, as far as the broker allows; what fails is tried again later. */
  flush(userId: string, deviceId: string): Promise<void>;
  /** Stores all cursors that moved, and stops. */
  close(): Promise<void>;
}

/** Options of {@link openCursors}. */
export interface CursorOptions {
  readonly replicas: number;
  /** How long the cursor of an absent device is kept, in milliseconds: longer than any notification. */
  readonly ttlMs: number;
  /** How long acknowledgements of a device are collected before they are stored, in milliseconds. Default 1,000. */
  readonly coalesceMs?: number;
  /** Forget all cursors: the inboxes that they belong to are gone. */
  readonly reset: boolean;
  readonly log: Logger;
}

interface Moved {
  readonly sequence: number;
  /** The write under way; one at a time for each device. */
  writing: Promise<void> | undefined;
}

/** Opens the CURSORS bucket, and creates it on first use. */
export async function openCursors(broker: Broker, options: CursorOptions): Promise<Cursors> {
  const { log, coalesceMs = 1_000 } = options;
  const buckets = new Kvm(broker.js);
  const declare = () =>
    buckets.create("CURSORS", {
      description: "the highest sequence that each device has acknowledged",
      history: 1,
      replicas: options.replicas,
      storage: StorageType.File,
      ttl: options.ttlMs,
    });
  let bucket = await declare();
  if (options.reset && (await bucket.status()).values > 0) {
    log.warn(
      "the inboxes are new: cursors of earlier ones are forgotten, and devices begin at the oldest notification",
    );
    await bucket.destroy();
    bucket = await declare();
  }
  /** Cursors that are ahead of the bucket, by key. */
  const moved = new Map<string, Moved>();

  const write = async (key: string): Promise<void> => {
    for (;;) {
      const target = moved.get(key)?.sequence;
      if (target === undefined) return;
      const entry = await bucket.get(key);
      if (entry === null || Number(entry.string()) < target) {
        try {
          // With the revision, so that another instance's higher cursor is not lowered.
          if (entry === null) await bucket.create(key, String(target));
          else await bucket.update(key, String(target), entry.revision);
        } catch (error) {
          if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamWrongLastSequence) continue;
          throw error;
        }
      }
      if (moved.get(key)?.sequence === target) {
        moved.delete(key);
        return;
      }
    }
  };

  const flushKey = (key: string): Promise<void> => {
    const entry = moved.get(key);
    if (entry === undefined) return Promise.resolve();
    entry.writing ??= write(key)
      .catch((err: unknown) => log.warn({ err }, "cannot store a cursor now; it is tried again"))
      .finally(() => {
        const current = moved.get(key);
        if (current !== undefined) current.writing = undefined;
      });
    return entry.writing;
  };

  const timer = setInterval(() => {
    if (!broker.isConnected()) return;
    for (const key of moved.keys()) void flushKey(key);
  }, coalesceMs);

  return {
    async read(userId, deviceId) {
      const key = cursorKey(toToken(userId), toToken(deviceId));
      await broker.whenConnected(Date.now() + 1_000);
      const entry = await bucket.get(key).catch((cause: unknown) => {
        throw failure("NetworkError", "the broker did not answer in time", cause);
      });
      const stored = entry === null ? undefined : Number(entry.string());
      const ahead = moved.get(key)?.sequence;
      return stored === undefined && ahead === undefined ? undefined : Math.max(stored ?? 0, ahead ?? 0);
    },
    advance(userId, deviceId, sequence) {
      const key = cursorKey(toToken(userId), toToken(deviceId));
      const entry = moved.get(key);
      if (entry === undefined || entry.sequence < sequence) moved.set(key, { sequence, writing: entry?.writing });
    },
    flush: (userId, deviceId) => flushKey(cursorKey(toToken(userId), toToken(deviceId))),
    async close() {
      clearInterval(timer);
      if (broker.isConnected()) await Promise.all([...moved.keys()].map(flushKey));
      if (moved.size > 0)
        log.warn({ cursors: moved.size }, "stopped with cursors not stored: their devices see notifications again");
    },
  };
}
