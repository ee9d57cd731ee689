import { createDeferred } from "./wire/deferred.ts";
import { untilAborted } from "./wire/wait.ts";

/** Listeners in order of registration. */
export interface Listeners<A extends readonly unknown[], R> extends Iterable<Listener<A, R>> {
  /** Registers a listener and returns the function that unregisters it. */
  add(call: (...args: A) => R): () => void;

  /** Whether a listener is still registered. */
  has(listener: Listener<A, R>): boolean;

  /** Resolves when there is a listener, rejects when the signal is aborted first. */
  first(signal: AbortSignal): Promise<void>;

  /** Calls all of them. One that throws does not stop the others and surfaces as an uncaught error. */
  call(...args: A): void;

  /** How many there are. */
  size(): number;
}

/** One registration: a function registered twice is two. */
export interface Listener<A extends readonly unknown[], R> {
  readonly call: (...args: A) => R;
}

export function createListeners<A extends readonly unknown[], R = void>(): Listeners<A, R> {
  const listeners = new Set<Listener<A, R>>();
  let added = createDeferred<void>();
  return {
    add(call) {
      const listener = { call };
      listeners.add(listener);
      added.resolve();
      added = createDeferred();
      return () => listeners.delete(listener);
    },
    has: (listener) => listeners.has(listener),
    async first(signal) {
      while (listeners.size === 0) await untilAborted(added.promise, signal);
    },
    call(...args) {
      for (const { call } of listeners) {
        try {
          call(...args);
        } catch (error) {
          // As an EventTarget does: the app's own mistake must not stop deliveries, and must be seen.
          queueMicrotask(() => {
            throw error;
          });
        }
      }
    },
    size: () => listeners.size,
    [Symbol.iterator]: () => listeners[Symbol.iterator](),
  };
}
