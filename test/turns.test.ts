import { describe, expect, test } from "vitest";
import { createTurns } from "../src/in-flight.ts";

/** Work that ends when the test says so. */
function openWork() {
  const started: string[] = [];
  const ends = new Map<string, PromiseWithResolvers<string>>();
  return {
    started,
    work: (name: string) => () => {
      started.push(name);
      const end = Promise.withResolvers<string>();
      ends.set(name, end);
      return end.promise;
    },
    end: (name: string) => ends.get(name)?.resolve(name),
    fail: (name: string) => ends.get(name)?.reject(new Error(name)),
  };
}

/** Lets everything run that can. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe("turns", () => {
  test("of one key follow each other, and those of others do not wait for them", async () => {
    const inTurn = createTurns(10);
    const { started, work, end } = openWork();
    const first = inTurn("a", work("a1"));
    const second = inTurn("a", work("a2"));
    const other = inTurn("b", work("b1"));
    await settle();
    expect(started).toEqual(["a1", "b1"]);
    end("a1");
    expect(await first).toBe("a1");
    await settle();
    expect(started).toEqual(["a1", "b1", "a2"]);
    end("a2");
    end("b1");
    expect(await Promise.all([second, other])).toEqual(["a2", "b1"]);
  });

  test("go on after one that failed", async () => {
    const inTurn = createTurns(1);
    const { started, work, end, fail } = openWork();
    const first = inTurn("a", work("a1"));
    const second = inTurn("a", work("a2"));
    await settle();
    fail("a1");
    await expect(first).rejects.toThrow("a1");
    await settle();
    expect(started).toEqual(["a1", "a2"]);
    end("a2");
    expect(await second).toBe("a2");
  });

  test("are not more than allowed at once, in the order of the calls", async () => {
    const inTurn = createTurns(2);
    const { started, work, end } = openWork();
    const names = ["a", "b", "c", "d", "e"];
    const all = Promise.all(names.map((name) => inTurn(name, work(name))));
    await settle();
    expect(started).toEqual(["a", "b"]);
    for (const [index, name] of names.entries()) {
      end(name);
      await settle();
      expect(started).toEqual(names.slice(0, index + 3));
    }
    expect(await all).toEqual(names);
    // All places are free again.
    const again = Promise.all(["f", "g"].map((name) => inTurn(name, work(name))));
    await settle();
    expect(started.slice(5)).toEqual(["f", "g"]);
    end("f");
    end("g");
    await again;
  });
});
