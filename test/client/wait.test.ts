import { expect, test } from "vitest";
import { untilAborted, wait, withDeadline } from "../../src/client/wait.ts";

const never = new Promise<never>(() => {});

test("wait ends after its time, with the signal, or at once when that was aborted before", async () => {
  const abort = new AbortController();
  await wait(1, abort.signal);
  const waiting = wait(60_000, abort.signal);
  abort.abort();
  await waiting;
  await wait(60_000, abort.signal);
});

test("untilAborted settles as the promise does, or rejects with the signal's reason", async () => {
  const reason = new Error("closed");
  const abort = new AbortController();
  expect(await untilAborted(Promise.resolve(7), abort.signal)).toBe(7);
  await expect(untilAborted(Promise.reject(reason), abort.signal)).rejects.toBe(reason);
  const aborted = untilAborted(never, abort.signal);
  abort.abort(reason);
  await expect(aborted).rejects.toBe(reason);
  await expect(untilAborted(never, abort.signal)).rejects.toBe(reason);
});

test("withDeadline aborts a call that is late, even one that does not listen to its signal", async () => {
  let given: AbortSignal | undefined;
  const late = withDeadline(5, undefined, (signal) => {
    given = signal;
    return never;
  });
  await expect(late).rejects.toMatchObject({ name: "TimeoutError" });
  expect(given?.aborted).toBe(true);
});

test("withDeadline passes on the result, and the reason of its parent", async () => {
  const parent = new AbortController();
  expect(await withDeadline(60_000, parent.signal, async () => 7)).toBe(7);
  const reason = new Error("closed");
  const calling = withDeadline(60_000, parent.signal, () => never);
  parent.abort(reason);
  await expect(calling).rejects.toBe(reason);
  await expect(withDeadline(60_000, parent.signal, () => never)).rejects.toBe(reason);
});
