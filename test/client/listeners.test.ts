import { expect, test } from "vitest";
import { createListeners } from "../../src/client/listeners.ts";

test("a function registered twice is called twice, and unregistered one by one", () => {
  const listeners = createListeners<[number]>();
  let sum = 0;
  const add = (n: number) => {
    sum += n;
  };
  const unregister = listeners.add(add);
  listeners.add(add);
  listeners.call(1);
  expect(sum).toBe(2);
  unregister();
  unregister();
  listeners.call(1);
  expect(sum).toBe(3);
});

test("first resolves with the first listener and rejects with the signal", async () => {
  const listeners = createListeners<[]>();
  const abort = new AbortController();
  const reason = new Error("closed");
  const aborted = listeners.first(abort.signal);
  abort.abort(reason);
  await expect(aborted).rejects.toBe(reason);
  const first = listeners.first(new AbortController().signal);
  listeners.add(() => {});
  await first;
});

test("a listener that throws stops no other and is not hidden", async () => {
  const listeners = createListeners<[]>();
  const mistake = new Error("the app's own");
  let called = false;
  listeners.add(() => {
    throw mistake;
  });
  listeners.add(() => {
    called = true;
  });
  const uncaught = new Promise((resolve) => {
    const others = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.once("uncaughtException", (error) => {
      for (const other of others) process.on("uncaughtException", other);
      resolve(error);
    });
  });
  listeners.call();
  expect(called).toBe(true);
  expect(await uncaught).toBe(mistake);
});
