import { describe, expect, test } from "vitest";
import { createLimit, forAll } from "../src/in-flight.ts";

/** Work that the test ends, with a record of what is under way. */
function createJobs() {
  const running: string[] = [];
  const ends = new Map<string, (error?: Error) => void>();
  return {
    running,
    start: (name: string) => () =>
      new Promise<string>((resolve, reject) => {
        running.push(name);
        ends.set(name, (error) => {
          running.splice(running.indexOf(name), 1);
          if (error === undefined) resolve(name);
          else reject(error);
        });
      }),
    async end(name: string, error?: Error) {
      ends.get(name)?.(error);
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

describe("a limit", () => {
  test("runs no more at a time than it is given, the rest in order, and hands results through", async () => {
    const limit = createLimit(2);
    const { running, start, end } = createJobs();
    const results = ["a", "b", "c", "d"].map((name) => limit(1, start(name)));
    expect(running).toEqual(["a", "b"]);
    await end("b");
    expect(running).toEqual(["a", "c"]);
    await end("a");
    await end("c");
    await end("d");
    expect(await Promise.all(results)).toEqual(["a", "b", "c", "d"]);
  });

  test("adds up weights; a light one does not overtake a heavy one, and one beyond the limit runs alone", async () => {
    const limit = createLimit(10, 100);
    const { running, start, end } = createJobs();
    const weights = { a: 60, b: 50, c: 1, d: 500, e: 1 };
    for (const [name, weight] of Object.entries(weights)) void limit(weight, start(name));
    expect(running).toEqual(["a"]);
    await end("a");
    expect(running).toEqual(["b", "c"]);
    await end("b");
    expect(running).toEqual(["c"]);
    await end("c");
    expect(running).toEqual(["d"]);
    await end("d");
    expect(running).toEqual(["e"]);
  });

  test("goes on after work that failed", async () => {
    const limit = createLimit(1);
    const { running, start, end } = createJobs();
    const failing = limit(1, start("a"));
    void limit(1, start("b"));
    const failed = expect(failing).rejects.toThrow("no");
    await end("a", new Error("no"));
    await failed;
    expect(running).toEqual(["b"]);
  });
});

describe("work on all of a list", () => {
  test("is done for each in order, no more at a time than is allowed", async () => {
    const { running, start, end } = createJobs();
    const done = forAll(["a", "b", "c"], 2, (name) => start(name)());
    expect(running).toEqual(["a", "b"]);
    await end("b");
    expect(running).toEqual(["a", "c"]);
    await end("a");
    await end("c");
    await done;
  });

  test("begins no more when one fails, and says so only when nothing is under way", async () => {
    const { running, start, end } = createJobs();
    let outcome: unknown;
    const done = forAll(["a", "b", "c"], 2, (name) => start(name)()).catch((error: unknown) => {
      outcome = error;
    });
    await end("a", new Error("refused"));
    expect(running).toEqual(["b"]);
    expect(outcome).toBeUndefined();
    await end("b", new Error("refused later"));
    await done;
    expect(outcome).toEqual(new Error("refused"));
    expect(running).toEqual([]);
  });
});
