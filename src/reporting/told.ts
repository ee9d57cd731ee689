import type { Broker } from "../broker/connect.ts";
import { listen, whenListening } from "../broker/signal.ts";
import { deadlineIn } from "../deadline.ts";
import { toldFilter } from "./layout.ts";

/** What the broker tells of new reports. It may be lost. */
export interface Told {
  /**
   * Begins to listen: what is stored from then on is told.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  listen(): Promise<void>;
  /** How often something was told by now. */
  count(): number;
  /** Resolves when more was told than `count`, when the time is over (in milliseconds), or when the signal is aborted. */
  wait(count: number, timeoutMs: number, signal: AbortSignal): Promise<void>;
  close(): void;
}

export function createTold(broker: Broker, timeoutMs: number): Told {
  const waiters = new Set<() => void>();
  let count = 0;
  let listening: { stop(): void } | undefined;

  return {
    async listen() {
      listening ??= listen(broker, toldFilter, () => {
        count++;
        for (const wake of waiters) wake();
      });
      await whenListening(broker, deadlineIn(timeoutMs));
    },
    count: () => count,
    wait(known, timeoutMs, signal) {
      if (signal.aborted || count !== known) return Promise.resolve();
      return new Promise((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          signal.removeEventListener("abort", wake);
          waiters.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, timeoutMs);
        signal.addEventListener("abort", wake, { once: true });
        waiters.add(wake);
      });
    },
    close: () => listening?.stop(),
  };
}
