import type { Health } from "./health.ts";

/** What is lost at times, and comes back. */
interface Link {
  onDisconnect(listener: () => void): () => void;
  onReconnect(listener: () => void): () => void;
}

interface ServingStatusOptions {
  readonly health: Health;
  /** The connections without which nothing can be served, and whether all of them are up. */
  readonly links: readonly Link[];
  readonly isConnected: () => boolean;
}

/** How often who wants to know looks again, in milliseconds: what else stands in the way comes and goes silently. */
const lookMs = 2_000;

/** Whether an instance serves, for who asks and for who wants to be told. */
export interface ServingStatus {
  /** As `/readyz`, but at once when a connection is lost. */
  isServing(): Promise<boolean>;
  /** Calls the listener when that may have changed; the result has it not called any more. */
  onChange(listener: () => void): () => void;
}

export function createServingStatus({ health, links, isConnected }: ServingStatusOptions): ServingStatus {
  const listeners = new Set<() => void>();
  let ignore: (() => void) | undefined;
  const tell = () => {
    for (const listener of listeners) listener();
  };
  const watch = () => {
    const ends = links.flatMap((link) => [link.onDisconnect(tell), link.onReconnect(tell)]);
    const timer = setInterval(tell, lookMs).unref();
    return () => {
      clearInterval(timer);
      for (const end of ends) end();
    };
  };
  return {
    isServing: async () => isConnected() && (await health.readiness()).ready,
    onChange(listener) {
      listeners.add(listener);
      ignore ??= watch();
      return () => {
        listeners.delete(listener);
        if (listeners.size > 0) return;
        ignore?.();
        ignore = undefined;
      };
    },
  };
}
