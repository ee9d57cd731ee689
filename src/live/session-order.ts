import type { BaseLogger } from "pino";
import type { Broker } from "../broker/connect.ts";
import { declare, isInMemory, type StreamSpec } from "../broker/declare.ts";
import { isMemoryFull, isOvertaken, toRefusal } from "../broker/faults.ts";
import { askLeader, purge, stateOf } from "../broker/reads/leader.ts";
import { toPartition, toToken } from "../broker/subjects.ts";
import { again, untilAnswered } from "../broker/until.ts";
import { sayWaiting } from "../broker/waiting-lines.ts";
import { write } from "../broker/write.ts";
import { deadlineIn } from "../deadline.ts";
import {
  epochStream,
  epochSubject,
  sessionEpochSubject,
  sessionSpec,
  sessionStream,
  sessionSubject,
  storedSessionSpec,
} from "./layout.ts";

/**
 * Records that a session of a device opens, and resolves to its place in the order of all sessions: higher than that of
 * each one that was recorded before, on whatever instance, also over a restart of the broker. The broker tells the
 * instances that listen for the user. One write: into memory, or with replicas to disk, without a sync of its own.
 *
 * Throws NetworkError (90004) when the broker does not answer in time. It may have told of the session all the same.
 */
export type OpenSession = (userId: string, deviceId: string) => Promise<number>;

export interface SessionOrderOptions {
  readonly partitions: number;
  readonly replicas: number;
  /** How long a recording may take, in milliseconds. */
  readonly timeoutMs: number;
  /**
   * After how long without a leader the memory is given up, in milliseconds. Default 15,000: an election takes up to 9 s.
   */
  readonly leaderlessMs?: number;
  readonly log: BaseLogger;
}

/**
 * Sequences that an epoch of the memory can use before they would meet those of the next: two years of 1,000 sessions a
 * second, or one in each half. JavaScript's numbers are exact for 131,071 epochs.
 */
const epochSize = 2 ** 36;

/** How long a record is kept, in milliseconds: it has done its work when the broker has passed it on. */
const recordTtlMs = 1_000;

/** How long the counting of an epoch may take, in milliseconds: devices wait for it. */
const countTimeoutMs = 1_000;

/** How long a cluster may take to place the memory, in milliseconds: devices wait for it, too. */
const placeTimeoutMs = 60_000;

/** Records have no content: where they are says it. */
const payload = new Uint8Array();

/** Creates the {@link OpenSession}, once the memory has an epoch. */
export async function createOpenSession(broker: Broker, options: SessionOrderOptions): Promise<OpenSession> {
  const { partitions, replicas, timeoutMs, leaderlessMs = 15_000, log } = options;
  /** The highest place that was given here. */
  let highest = 1;

  /** Counts an epoch. The count is on disk, so that none comes twice. */
  const countEpoch = async (): Promise<number> => {
    const counted = await write(broker, [{ subject: epochSubject, payload }], countTimeoutMs).catch(() => undefined);
    if (counted?.kind === "stored") return counted.sequence;
    // With a full disk, which the broker refuses or does not answer, half an epoch must do: sessions are there to read,
    // and of what was given in such a half this instance knows its own. A broker that is away does not answer this either.
    return (await stateOf(broker, epochStream)).last_seq + 0.5;
  };

  let leaderlessSinceMs: number | undefined;

  /**
   * Gives the memory up when it does not get a leader again, as when the node that has the only copy is gone, and when an
   * earlier version has put replicas of it into memory. The cluster removes a stream without its leader, and nothing in it
   * is needed: its next life has an epoch of its own. Resolves to whether it was given up.
   */
  const giveUp = async (): Promise<boolean> => {
    const { cluster, config } = await broker.jsm.streams.info(sessionStream);
    const isLed = cluster === undefined || Boolean(cluster.leader);
    leaderlessSinceMs = isLed ? undefined : (leaderlessSinceMs ?? performance.now());
    const isLost = leaderlessSinceMs !== undefined && performance.now() - leaderlessSinceMs >= leaderlessMs;
    const isMisplaced = replicas > 1 && isInMemory(config);
    if (!isLost && !isMisplaced) return false;
    if (isLost) log.warn({ stream: sessionStream }, "the order of sessions has no leader for too long: it begins anew");
    await broker.jsm.streams.delete(sessionStream);
    leaderlessSinceMs = undefined;
    return true;
  };

  const say = sayWaiting((err) =>
    log.warn({ err, stream: sessionStream }, "waiting for the order of sessions: nobody can open one here"),
  );

  const findEpoch = async (): Promise<number> => {
    const place = (spec: StreamSpec) => declare(broker, [spec], replicas, say, placeTimeoutMs);
    const placeAnywhere = () =>
      place(replicas > 1 ? storedSessionSpec : sessionSpec).catch((error: unknown) => {
        if (!isMemoryFull(error)) throw error;
        return place(storedSessionSpec);
      });
    await placeAnywhere();
    if (await giveUp()) await placeAnywhere();
    for (;;) {
      const marker = await askLeader(broker, sessionStream, { last: sessionEpochSubject });
      if (marker !== undefined) return marker.sequence;
      // Two instances may both begin one: the later has the higher sequences, which is all that matters.
      await purge(broker, sessionStream, { below: Math.max((await countEpoch()) * epochSize, highest + 1) });
      const marked = await write(broker, [{ subject: sessionEpochSubject, payload, replaces: 0 }], timeoutMs);
      if (marked.kind === "refused" && !isOvertaken(marked)) throw toRefusal(marked);
    }
  };

  /** The sequence with which the epoch began, as last looked up. */
  let known: Promise<number> | undefined;
  const epoch = (): Promise<number> => {
    if (known !== undefined) return known;
    const asked = findEpoch();
    known = asked;
    asked.catch(() => {
      if (known === asked) known = undefined;
    });
    return asked;
  };
  // What was asked then is not answered, and a broker that was restarted has another epoch.
  broker.onDisconnect(() => {
    known = undefined;
  });

  const record = async (subject: string): Promise<number | typeof again> => {
    const asked = epoch();
    try {
      const first = await asked;
      const stored = await write(broker, [{ subject, payload, ttlMs: recordTtlMs }], timeoutMs);
      if (stored.kind === "refused") throw toRefusal(stored);
      if (stored.sequence > first) {
        highest = Math.max(highest, stored.sequence);
        return stored.sequence;
      }
    } catch (error) {
      // Perhaps because the stream is gone.
      if (known === asked) known = undefined;
      throw error;
    }
    // The memory has begun anew since, and nobody has moved its sequences forward yet.
    if (known === asked) known = undefined;
    return again;
  };

  await untilAnswered(broker, deadlineIn(placeTimeoutMs), epoch, say);
  return (userId, deviceId) => {
    const user = toToken(userId);
    const subject = sessionSubject(toPartition(user, partitions), user, toToken(deviceId));
    // Recorded twice when the first answer was lost: the later one counts, there as here.
    return untilAnswered(broker, deadlineIn(timeoutMs), () => record(subject));
  };
}
