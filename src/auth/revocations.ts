import { setTimeout as delay } from "node:timers/promises";
import type { BaseLogger } from "pino";
import { z } from "zod";
import type { Broker } from "../broker/connect.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { createRecords } from "../broker/reads/records.ts";
import { listen, type Signal, whenListening } from "../broker/signal.ts";
import { toToken } from "../broker/subjects.ts";
import { replace } from "../broker/write.ts";
import { deadlineIn } from "../deadline.ts";
import type { Caller } from "./caller.ts";
import { revokedFilter, revokedRepublish, revokedStream, revokedSubject } from "./layout.ts";
import { anyPlatform, platformIds } from "./platform.ts";

/** Tokens that are no longer valid: those of a user and platform minted up to a moment. */
export interface Revocation {
  readonly userId: string;
  readonly platformId: number;
  /** Milliseconds since the Unix epoch. */
  readonly atMs: number;
}

/**
 * The moment up to which a user's tokens for a platform are revoked, in milliseconds since the Unix epoch; undefined
 * if they never were.
 */
export type RevokedAtMs = (userId: string, platformId: number) => number | undefined;

/** Every revocation of every instance, known here without asking the broker. */
export interface Revocations {
  readonly revokedAtMs: RevokedAtMs;
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

interface RevocationOptions {
  /**
   * How long a revocation is kept, in milliseconds: longer than any token lives that is accepted, also one that
   * another server minted, since a forgotten revocation makes its tokens valid again.
   */
  readonly ttlMs: number;
  /** Whether the bucket has replicas. Default false. */
  readonly isReplicated?: boolean;
  readonly log: BaseLogger;
}

/** How long the broker may take to answer, in milliseconds, with all tries. */
const timeoutMs = 5_000;

/** The wait before the bucket is read again, in milliseconds. */
const rereadDelayMs = 250;

const stored = z.object({ userId: z.string(), platformId: z.number(), atMs: z.number() });

/**
 * Resolves when every stored revocation is known. While the broker is away, revocations of other instances are not; all
 * are read again on every reconnect.
 *
 * It is read, and told by the broker's republishing: a watch would have a consumer, which a broker with a full disk
 * cannot create, and the service could not start on what it has stored.
 */
export async function openRevocations(
  broker: Broker,
  get: DirectGet,
  options: RevocationOptions,
): Promise<Revocations> {
  const { log, ttlMs } = options;
  const records = createRecords(broker, get, revokedStream, options);
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

  const hear = (entry: Signal): void => {
    const revocation = decode(entry, log);
    if (revocation !== undefined) learn(revocation);
  };

  const readAll = async (): Promise<void> => {
    for (const entry of await records.under([revokedFilter])) hear(entry);
  };

  let isClosed = false;
  let reading = 0;
  /** Reads until it has, or a later reconnect has begun to. */
  const catchUp = async (): Promise<void> => {
    const turn = ++reading;
    // The second time for what a copy of the stream that was behind did not have yet.
    for (let reads = 0; reads < 2; await delay(rereadDelayMs)) {
      if (isClosed || turn !== reading) return;
      try {
        await readAll();
        reads++;
      } catch (err) {
        log.warn({ err }, "cannot read the revocations of other instances; trying again");
      }
    }
  };

  /** Stores a revocation unless a later one is stored, and resolves to the one that then is. */
  const raise = (revocation: Revocation): Promise<Revocation> => {
    const subject = revokedSubject(toToken(revocation.userId), revocation.platformId);
    return replace(broker, deadlineIn(timeoutMs), async () => {
      const entry = await get.last(revokedStream, subject);
      const before = entry && decode(entry);
      if (before !== undefined && before.atMs >= revocation.atMs) return { writes: [], answer: before };
      const payload = Buffer.from(JSON.stringify(revocation));
      return { writes: [{ subject, payload, replaces: entry?.sequence ?? 0 }], answer: revocation };
    });
  };

  const listening = listen(broker, revokedRepublish.dest, hear);
  await whenListening(broker, deadlineIn(timeoutMs));
  await readAll();
  const forgetReconnects = broker.onReconnect(() => void catchUp());

  return {
    revokedAtMs: (userId, platformId) => known.get(localKey(userId, platformId))?.atMs,
    async revoke(userId, platformId, atMs) {
      learn(await raise({ userId, platformId, atMs }));
    },
    onRevoke(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      isClosed = true;
      forgetReconnects();
      listening.stop();
    },
  };
}

/**
 * Whether a token was revoked after it had been minted. A token that names no platform may be in use on any, so
 * revoking any platform of its user revokes it.
 *
 * Sessions ask this again when a revocation of their user arrives.
 */
export function isRevoked(
  { userId, platformId, issuedAtMs }: Pick<Caller, "userId" | "platformId" | "issuedAtMs">,
  revokedAtMs: RevokedAtMs,
): boolean {
  const platforms = platformId === anyPlatform ? platformIds : [platformId];
  return platforms.some((platform) => issuedAtMs <= (revokedAtMs(userId, platform) ?? -Infinity));
}

/** The revocation in an entry; undefined for one that was deleted, or that Mustreach did not write. */
function decode({ subject, payload, header }: Signal, log?: BaseLogger): Revocation | undefined {
  if (header("KV-Operation") !== "") return undefined;
  try {
    return stored.parse(JSON.parse(Buffer.from(payload).toString("utf8")));
  } catch (err) {
    log?.warn({ err, subject }, "an entry of the REVOKED bucket is not a revocation; ignoring it");
    return undefined;
  }
}

function localKey(userId: string, platformId: number): string {
  return `${platformId}:${userId}`;
}
