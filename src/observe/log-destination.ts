import { write, writeSync } from "node:fs";

/**
 * Where log lines go: those of a moment together, aside. It never holds up who writes: a line that cannot be written is
 * dropped and counted.
 */
export interface LogDestination {
  write(line: string): void;
  /** Calls back when no line waits any more, or after 1 s. */
  flush(done: () => void): void;
  /** Lines dropped since the start. */
  dropped(): number;
}

interface LogDestinationOptions {
  /** Where to write. Default: standard error. */
  readonly fd?: number;
  /** Called when lines can be written again after some were dropped, with their number. */
  readonly onRecovery?: (dropped: number) => void;
}

/** How much may wait for a slow reader, in characters; as much again may be under way. */
const maxWaitingLength = 1_048_576;

/** How long a line waits for others, in milliseconds: a write costs five times as much as a line. */
const gatherMs = 20;

/** With this much that waits, lines are written at once, in characters. */
const gatherLength = 65_536;

/** Pause before a pipe that was full is tried again, in milliseconds. */
const retryMs = 50;

/** How long {@link LogDestination.flush} waits at most, in milliseconds. */
const flushMs = 1_000;

/** Writes what waits in each destination that has something waiting. */
const unwritten = new Set<() => void>();

/** A crash does not flush. The batch under way is finished by Node; of the rest, as much is written as there is room for. */
function writeAllAtExit(): void {
  for (const writeRest of unwritten) writeRest();
}

/**
 * Creates the destination of the log. Not pino's own (sonic-boom), which has no bound by default, ends the process when
 * the disk is full, and on the way out tries for ever to write the rest: the process hung, deaf to SIGTERM.
 */
export function createLogDestination(options: LogDestinationOptions = {}): LogDestination {
  // Node makes its pipes and sockets non-blocking when it is asked for the stream, and sets them back at the end. Written
  // to as the process was given it, a pipe that nobody reads would hold a thread of libuv's pool, and the exit with it.
  const { fd = process.stderr.fd, onRecovery } = options;
  let waiting: string[] = [];
  let waitingLength = 0;
  let isWriting = false;
  let gathering: NodeJS.Timeout | undefined;
  /** Whether the last thing written is a part of a line. */
  let isTorn = false;
  let dropped = 0;
  let told = 0;
  let flushed: (() => void)[] = [];

  const next = (): void => {
    clearTimeout(gathering);
    gathering = undefined;
    isWriting = waiting.length > 0;
    if (isWriting) {
      const batch = Buffer.from((isTorn ? "\n" : "") + waiting.join(""));
      waiting = [];
      waitingLength = 0;
      unwritten.delete(writeRest);
      writeOut(batch, 0);
    } else {
      for (const done of flushed.splice(0)) done();
    }
  };

  const writeOut = (batch: Buffer, offset: number): void => {
    write(fd, batch, offset, batch.length - offset, null, (error, bytes) => {
      if (error !== null && (error.code === "EAGAIN" || error.code === "EBUSY")) {
        setTimeout(() => writeOut(batch, offset), retryMs).unref();
      } else if (error !== null) {
        // Without the newline that ends a torn line.
        dropped +=
          batch
            .subarray(Math.max(offset, isTorn ? 1 : 0))
            .toString()
            .split("\n").length - 1;
        if (offset > 0) isTorn = batch[offset - 1] !== 0x0a;
        next();
      } else if (offset + bytes < batch.length) {
        writeOut(batch, offset + bytes);
      } else {
        isTorn = false;
        const lost = dropped - told;
        told = dropped;
        if (lost > 0) onRecovery?.(lost);
        next();
      }
    });
  };

  const writeRest = (): void => {
    try {
      writeSync(fd, waiting.join(""));
    } catch {
      // There is nobody left to tell.
    }
  };
  // One for all: a process may have any number of logs, as where it starts servers to test with.
  if (!process.listeners("exit").includes(writeAllAtExit)) process.on("exit", writeAllAtExit);

  return {
    write(line) {
      if (waitingLength + line.length > maxWaitingLength) {
        dropped++;
        return;
      }
      waiting.push(line);
      unwritten.add(writeRest);
      waitingLength += line.length;
      if (isWriting) return;
      if (waitingLength >= gatherLength) next();
      else gathering ??= setTimeout(next, gatherMs).unref();
    },
    flush(done) {
      if (!isWriting) next();
      if (!isWriting) return done();
      const timer = setTimeout(() => {
        flushed = flushed.filter((other) => other !== finish);
        done();
      }, flushMs);
      const finish = () => {
        clearTimeout(timer);
        done();
      };
      flushed.push(finish);
    },
    dropped: () => dropped,
  };
}
