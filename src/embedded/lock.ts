import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";

/** A lock that this process holds. */
export interface HeldLock {
  /** Gives the lock back. The kernel does it too when the process ends in any way. */
  release(): void;
}

/** Who holds a lock, as far as it says: `pid 4711`, or `pid 4711 on host web-1` when that is another host's number. */
export type LockHolder = string;

/**
 * Takes the lock that the file at `path` stands for, or says who holds it.
 *
 * The lock is one of the kernel's, through SQLite, because Node itself has none: it ends with its holder, SIGKILL
 * included, so it is never stale, and it holds between containers that share the directory, where process ids say
 * nothing. `<path>.pid` names the holder for people; nothing is decided by it.
 */
export function takeLock(path: string): HeldLock | LockHolder {
  let database: DatabaseSync | undefined;
  try {
    // SQLite would make a file that others may open, and then lock.
    closeSync(openSync(path, "a", 0o600));
    database = new DatabaseSync(path, { timeout: 0 });
    // No journal file: nothing is ever written.
    database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (error) {
    database?.close();
    if (isBusy(error)) return readHolder(`${path}.pid`);
    throw new Error(`cannot lock ${path}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
  writeFileSync(`${path}.pid`, `${process.pid} ${hostname()}\n`, { mode: 0o600 });
  const held = database;
  return {
    release: () => {
      if (!held.isOpen) return;
      rmSync(`${path}.pid`, { force: true });
      held.close();
    },
  };
}

/** As {@link takeLock}, but waits for the holder; `onWait` is told of it, once, when that takes longer than a moment. */
export async function waitForLock(path: string, onWait: (holder: LockHolder) => void): Promise<HeldLock> {
  for (let tries = 0; ; tries++) {
    const lock = takeLock(path);
    if (typeof lock !== "string") return lock;
    if (tries === 5) onWait(lock);
    await delay(100);
  }
}

const sqliteBusy = 5;

function isBusy(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && error.errcode === sqliteBusy;
}

function readHolder(path: string): LockHolder {
  let text = "";
  try {
    text = readFileSync(path, "utf8");
  } catch {
    // The holder has the lock and has not written its name yet, or has just removed it.
  }
  const [pid, host] = text.trim().split(" ");
  if (!pid) return "pid unknown";
  return host === hostname() ? `pid ${pid}` : `pid ${pid} on host ${host}`;
}
