import { afterAll, beforeAll } from "vitest";

/**
 * What is started before the first test of the enclosing file or `describe`, and ended after the last. Its properties can be
 * read inside tests and hooks only.
 */
export function useForFile<T extends object>(start: () => Promise<T>, end: (started: T) => unknown): T {
  let started: T | undefined;
  beforeAll(async () => {
    started = await start();
  });
  afterAll(async () => {
    if (started !== undefined) await end(started);
  });
  return new Proxy({} as T, {
    get(_, name) {
      if (started === undefined) throw new Error("it is there inside tests and hooks only");
      return Reflect.get(started, name);
    },
  });
}
