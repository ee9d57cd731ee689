import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { ListenerAddress } from "../http/listener.ts";
import type { MetricsSnapshot } from "../observe/metrics.ts";
import { noneReplaced, type Replaced } from "../serving.ts";
import type { WorkerStart } from "./calls.ts";
import type { Central } from "./central.ts";
import { startHeartbeat } from "./heartbeat.ts";
import { LinkLostError } from "./link.ts";
import { spawnWorker, type WorkerProcess } from "./process.ts";

export interface CrewOptions {
  /** The descriptor of the port. */
  readonly portFd: number;
  /** What a worker that is started now is started with. */
  readonly start: () => WorkerStart;
  readonly central: Central;
  /** How long a worker may take to drain, in milliseconds, before it is ended. */
  readonly drainMs: number;
  /** Called with the last metrics of a worker that has ended. */
  readonly onEnd: (last: MetricsSnapshot) => void;
  /** Called when there is no worker and none can be started. */
  readonly onHopeless: (reason: unknown) => void;
  readonly log: Logger;
}

/** One worker that serves, or has. */
export interface Member extends WorkerProcess {
  readonly worker: number;
  readonly address: ListenerAddress;
  /** Whether it was ended because it did not answer. */
  isStuck(): boolean;
  /** What it measured when it was last asked. */
  lastMetrics: MetricsSnapshot;
}

/** The workers of an instance: each is replaced when it ends. */
export interface Crew {
  /** Those that serve. */
  members(): Member[];
  /** These, and those that drain. */
  measured(): Member[];
  /** These, and those that are starting. */
  processes(): WorkerProcess[];
  readonly replaced: Replaced;
  /**
   * Replaces each by a new one, one after the other: the old one drains when the new one accepts.
   *
   * @throws when a new one does not start; the old one goes on.
   */
  renew(): Promise<void>;
  /** Drains all of them. */
  drain(): Promise<void>;
}

/** The wait before a worker is started again, in milliseconds: doubled from the first to the last. */
const restartDelayMs = { first: 100, last: 5_000 };

/** A worker that served this long, in milliseconds, ends for the first time again. */
const steadyMs = 10_000;

/** How long a worker that ends leaves connections open for requests that are on their way, in milliseconds. */
const lingerMs = 1_000;

/** How long a stop waits until no worker accepts any more, in milliseconds: one may be stuck. */
const closePortMs = 5_000;

/** How often in a row a worker may fail to start while none serves. */
const maxFailedStarts = 8;

/**
 * Starts `count` workers, and resolves when all accept.
 *
 * @throws what the first of them could not start for; the others are ended.
 */
export async function startCrew(count: number, options: CrewOptions): Promise<Crew> {
  const { portFd, start, central, drainMs, onEnd, onHopeless, log } = options;
  const replaced = { ...noneReplaced };
  const stopping = new AbortController();
  /** All processes that have not ended, and those of them that do not accept yet. */
  const processes = new Set<WorkerProcess>();
  const starting = new Set<WorkerProcess>();
  /** Those that serve, by which they are; and those that drain besides. */
  const members = new Map<number, Member>();
  const measured = new Set<Member>();
  /** Of each worker, what is being done about it: one thing after another. */
  const turns = new Map<number, Promise<unknown>>();

  const inTurn = <T>(worker: number, work: () => Promise<T>): Promise<T> => {
    const turn = (turns.get(worker) ?? Promise.resolve()).then(work);
    turns.set(
      worker,
      turn.catch(() => {}),
    );
    return turn;
  };

  /** Starts a process, and resolves when it accepts. */
  const launch = async (worker: number): Promise<Member> => {
    stopping.signal.throwIfAborted();
    const { calls, left } = central.forWorker();
    const process = spawnWorker({ worker, portFd, calls, log });
    processes.add(process);
    starting.add(process);
    let isStuck = false;
    const heartbeat = startHeartbeat(process, () => {
      log.error({ worker, pid: process.pid }, "a worker does not answer: ending it");
      isStuck = true;
      process.kill();
    });
    const exited = process.exited.then((how) => {
      heartbeat.stop();
      left();
      processes.delete(process);
      return how;
    });
    try {
      const address = await process.ask("start", start());
      const member: Member = { ...process, exited, worker, address, isStuck: () => isStuck, lastMetrics: [] };
      log.info({ worker, pid: process.pid }, "a worker accepts");
      return member;
    } catch (error) {
      process.kill();
      const how = await exited;
      throw error instanceof LinkLostError ? new Error(`a worker ended while it was starting (${how})`) : error;
    } finally {
      starting.delete(process);
    }
  };

  /** Puts a worker in its place. Replaces it when it ends without having been asked to. */
  const join = (member: Member): void => {
    const { worker } = member;
    const joinedAt = performance.now();
    members.set(worker, member);
    measured.add(member);
    void member.exited.then((how) => {
      measured.delete(member);
      onEnd(member.lastMetrics);
      if (members.get(worker) !== member) return;
      members.delete(worker);
      if (stopping.signal.aborted) return;
      const restartMs = performance.now() - joinedAt > steadyMs ? 0 : restartDelayMs.first;
      log.error({ worker, pid: member.pid, restartMs }, `a worker ended unexpectedly (${how}): starting another`);
      replaced[member.isStuck() ? "stuck" : "died"]++;
      void inTurn(worker, () => revive(worker, restartMs));
    });
  };

  const revive = async (worker: number, firstDelayMs: number): Promise<void> => {
    let restartMs = firstDelayMs;
    for (let failed = 0; !members.has(worker) && !stopping.signal.aborted; ) {
      await delay(restartMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return;
      restartMs = Math.min(Math.max(restartMs * 2, restartDelayMs.first), restartDelayMs.last);
      try {
        join(await launch(worker));
      } catch (err) {
        if (stopping.signal.aborted) return;
        failed++;
        log.error({ err, worker, restartMs }, "a worker cannot start: trying again");
        if (failed >= maxFailedStarts && members.size === 0) return onHopeless(err);
      }
    }
  };

  /** Has a worker that is in nobody's place any more end. */
  const retire = async (member: Member, lingerMs: number): Promise<void> => {
    const cut = setTimeout(() => {
      log.warn({ worker: member.worker, pid: member.pid, drainMs }, "a worker has not drained in time: ending it");
      member.kill();
    }, drainMs);
    // One that ends meanwhile needs no drain.
    const last = await member.ask("drain", lingerMs).catch(() => undefined);
    if (last !== undefined) member.lastMetrics = last;
    member.release();
    await member.exited;
    clearTimeout(cut);
  };

  const renew = async (worker: number): Promise<void> => {
    if (stopping.signal.aborted) return;
    const next = await launch(worker);
    const old = members.get(worker);
    join(next);
    if (old === undefined) return;
    replaced.renewed++;
    await retire(old, lingerMs);
  };

  const workers = Array.from({ length: count }, (_, i) => i + 1);
  const begun = await Promise.allSettled(workers.map(launch));
  const failure = begun.find((outcome) => outcome.status === "rejected");
  if (failure !== undefined) {
    stopping.abort();
    for (const process of processes) process.kill();
    await Promise.all([...processes].map(({ exited }) => exited));
    throw failure.reason;
  }
  for (const outcome of begun) if (outcome.status === "fulfilled") join(outcome.value);

  return {
    members: () => [...members.values()],
    measured: () => [...measured],
    processes: () => [...processes],
    replaced,
    async renew() {
      for (const worker of workers) await inTurn(worker, () => renew(worker));
    },
    async drain() {
      stopping.abort();
      const last = [...members.values()];
      members.clear();
      for (const process of starting) process.kill();
      await Promise.all([...starting].map(({ exited }) => exited));
      // All of them before one tells its clients to go: they come back, and the last to close the port resets who waits.
      const closed = last.map((member) => member.ask("closePort", undefined).catch(() => {}));
      await Promise.race([Promise.all(closed), delay(closePortMs, undefined, { ref: false })]);
      await Promise.all(last.map((member) => retire(member, lingerMs)));
      await Promise.all(turns.values());
    },
  };
}
