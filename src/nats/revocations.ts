import { setTimeout as delay } from "node:timers/promises";
import { JetStreamApiCodes, JetStreamApiError } from "@nats-io/jetstream";
import type { KV, KvEntry } from "@nats-io/kv";
import type { BaseLogger } from "pino";
import { z } from "zod";
import { failure } from "../errors.ts";
import type { Broker } from "./connect.ts";
import { declareBucket } from "./streams.ts";
import { revokedKey, toToken } from "./subjects.ts";

/** Tokens that are no longer valid: those of a user and platform minted up to a moment. */
export interface Revocation {
  readonly userId: string;
  readonly platformId: number;
  /** Milliseconds since the Unix epoch. */
  readonly atMs: number;
}

/** Every revocation of every instance, known here without asking the broker. */
export interface Revocations {
  /** Up to which moment a user's tokens for a platform are revoked; undefined if they never were. */
  revokedAtMs(userId: string, platformId: number): number | undefined;
  /**
   * Stores a revocation; it is in force here when this resolves, and elsewhere when the broker has passed it on. An
   * earlier moment than the one stored changes nothing.
   *
   * @throws NetworkError (90004) when the broker cannot be reached or does not answer in time.
   */
  revoke(userId: string, platformId: number, atMs: number): Promise<void>;
  /** Calls `listener` once for each revocation from now on, whichever instance made it. Returns how to stop. */
  onRevoke(listener: (revocation: Revocation) => void): () => void;
  /** Stops following the other instances. */
  close(): void;
}

/** Options of {@link openRevocations}. */
export interface RevocationOptions {
  readonly replicas: number;
  /**
   * How long a revocation is kept, in milliseconds: longer than any token lives that is accepted, also one that
   * another server minted, since a forgotten revocation makes its tokens valid again.
   */
  readonly ttlMs: number;
  readonly log: BaseLogger;
}

/** How long {@link Revocations.revoke} waits for a connection, in milliseconds. */
const connectTimeoutMs = 2_000;

/** The wait before the bucket is watched again after that failed, in milliseconds. */
const rewatchDelayMs = 250;

const stored = z.object({ userId: z.string(), platformId: z.number(), atMs: z.number() });

/**
 * Opens the REVOKED bucket, created on first use, and resolves when every stored revocation is known. While the broker
 * is away, revocations of other instances are not; all are read again on every reconnect.
 */
export async function openRevocations(broker: Broker, options: RevocationOptions): Promise<Revocations> {
  const { log, ttlMs } = options;
  const bucket = await declareBucket(broker, "REVOKED", {
    description: "up to which moment the tokens of a user and platform are revoked",
    replicas: options.replicas,
    ttlMs,
    // Tokens that were minted to live longer are still about.
    isNeverLowered: true,
  });
  /** In order of arrival, so that what has outlived every token is at the front. */
  const known = new Map<string, Revocation>();
  const listeners = new Set<(revocation: Revocation) => void>();

  const learn = (revocation: Revocation) => {
    const key = localKey(revocation.userId, revocation.platformId);
    const before = known.get(key);
    if (before !== undefined && before.atMs >= revocation.atMs) return;
    known.delete(key);
    known.set(key, revocation);
    for (const [oldKey, { atMs }] of known) {
      if (atMs > Date.now() - ttlMs) break;
      known.delete(oldKey);
    }
    for (const listener of listeners) listener(revocation);
  };

  const watching = Promise.withResolvers<void>();
  const allRead = Promise.withResolvers<true>();
  let closed = false;
  let interrupt = () => {};

  const readWatch = async (interrupted: Promise<void>) => {
    // A request that was under way when the connection went is never answered, so it can be interrupted, too.
    const opening = bucket.watch();
    void Promise.all([opening, interrupted]).then(
      ([watch]) => watch.stop(),
      () => {},
    );
    const watch = await Promise.race([opening, interrupted]);
    if (watch === undefined) return;
    watching.resolve();
    for await (const entry of watch) {
      const revocation = readEntry(entry, log);
      if (revocation !== undefined) learn(revocation);
      if (entry.delta === 0) allRead.resolve(true);
    }
  };

  const follow = async () => {
    while (!closed && !broker.nc.isClosed()) {
      const interrupted = Promise.withResolvers<void>();
      interrupt = interrupted.resolve;
      try {
        await readWatch(interrupted.promise);
      } catch (err) {
        log.warn({ err }, "cannot follow the revocations of other instances; trying again");
      }
      await Promise.race([interrupted.promise, delay(rewatchDelayMs)]);
    }
  };
  // Left to itself, nats.js takes a minute without heartbeats to notice that a restarted broker forgot the watch.
  const forgetReconnects = broker.onReconnect(() => interrupt());
  void follow();

  await watching.promise;
  // An empty bucket has nothing to deliver. Looked at again, because the last entry may expire before it is read.
  do {
    if ((await bucket.status()).values === 0) break;
  } while (!(await Promise.race([allRead.promise, delay(rewatchDelayMs)])));

  return {
    revokedAtMs: (userId, platformId) => known.get(localKey(userId, platformId))?.atMs,
    async revoke(userId, platformId, atMs) {
      await broker.whenConnected(Date.now() + connectTimeoutMs);
      const inForce = await raise(bucket, { userId, platformId, atMs }).catch((cause: unknown) => {
        throw failure("NetworkError", "the broker did not store the revocation", cause);
      });
      learn(inForce);
    },
    onRevoke(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      closed = true;
      forgetReconnects();
      interrupt();
    },
  };
}

/** Stores a revocation unless a later one is stored, and returns the one that then is. */
async function raise(bucket: KV, revocation: Revocation): Promise<Revocation> {
  const key = revokedKey(toToken(revocation.userId), revocation.platformId);
  for (;;) {
    const entry = await bucket.get(key);
    const before = entry === null ? undefined : readEntry(entry);
    if (before !== undefined && before.atMs >= revocation.atMs) return before;
    try {
      // With the revision, so that another instance's later revocation is not lowered.
      await bucket.put(key, JSON.stringify(revocation), { previousSeq: entry?.revision ?? 0 });
      return revocation;
    } catch (error) {
      if (!isOvertaken(error)) throw error;
    }
  }
}

/** The revocation in an entry; undefined for one that was deleted or that Mustreach did not write. */
function readEntry(entry: KvEntry, log?: BaseLogger): Revocation | undefined {
  if (entry.operation !== "PUT") return undefined;
  try {
    return stored.parse(entry.json());
  } catch (err) {
    log?.warn({ err, key: entry.key }, "an entry of the REVOKED bucket is not a revocation; ignoring it");
    return undefined;
  }
}

function isOvertaken(error: unknown): boolean {
  return (
    error instanceof JetStreamApiError &&
    (error.code === JetStreamApiCodes.StreamWrongLastSequence ||
      error.code === JetStreamApiCodes.StreamWrongLastSequenceUnknown)
  );
}

function localKey(userId: string, platformId: number): string {
  return `${platformId}:${userId}`;
}
