import { afterEach, describe, expect, test, vi } from "vitest";
import { failure, toErrorFacts } from "../../src/errors.ts";
import { Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createPushMemory } from "../../src/live/push-queue.ts";
import type { Hub } from "../../src/receiving/hub.ts";
import { Session } from "../../src/receiving/session.ts";
import { subscribe } from "../../src/receiving/subscribe.ts";
import { createStore, homeOf } from "./store.ts";

const dayMs = 86_400_000;
afterEach(() => {
  vi.useRealTimers();
});

/** A subscription on a hub that only makes sessions, and what became of them. */
function openSubscription({ tokenTtlMs = dayMs, heartbeatMs = 3_600_000 } = {}) {
  const device = new AbortController();
  const flush = vi.fn(async () => {});
  const close = vi.fn();
  const hub: Partial<Hub> = {
    async open(opener) {
      const { deviceId, window, expiresAtMs } = opener;
      const home = homeOf(createStore(), heartbeatMs);
      const pushes = createPushMemory(10_000_000).openQueue();
      const session = new Session({ home, deviceId, window, pushes, expiresAtMs, opener });
      session.begin(await opener.findPlace());
      return session;
    },
    close,
    endRevoked: vi.fn(),
  };
  const resume = vi.fn(async () => ({ epoch: "life", sequence: 7, isStoreChanged: false }));
  const deps = { hub: hub as Hub, resume, cursors: { flush }, revokedAtMs: () => undefined };
  const now = Date.now();
  const caller = { userId: "alice", platformId: 5, isAdmin: false, issuedAtMs: now, expiresAtMs: now + tokenTtlMs };
  const answers = subscribe(
    deps,
    {
      caller,
      deviceId: "phone",
      door: "connect",
      peer: "127.0.0.1",
      start: Start.RESUME,
      afterSequence: undefined,
      epoch: "",
      window: 10,
    },
    () => device.signal,
  );
  const events = answers[Symbol.asyncIterator]();
  return { device, events, flush, close, resume };
}

describe("a subscription", () => {
  test("begins where the device resumes", async () => {
    const { events, resume } = openSubscription();
    const { value } = await events.next();
    expect(value?.event).toMatchObject({ case: "ready", value: { resumeSequence: 7n, deviceId: "phone" } });
    expect(resume).toHaveBeenCalledWith({
      userId: "alice",
      deviceId: "phone",
      start: Start.RESUME,
      afterSequence: undefined,
      epoch: "",
    });
    await events.return();
  });

  test("closes its session and stores the cursor when the reader leaves", async () => {
    const { events, flush, close } = openSubscription();
    await events.next();
    expect(flush).not.toHaveBeenCalled();
    await events.return();
    expect(flush).toHaveBeenCalledExactlyOnceWith("alice", "phone");
    expect(close).toHaveBeenCalledOnce();
  });

  test("closes its session and stores the cursor when the device is gone, also if nobody reads on", async () => {
    const { device, events, flush, close } = openSubscription();
    await events.next();
    device.abort(failure("NetworkError", "test"));
    expect(flush).toHaveBeenCalledExactlyOnceWith("alice", "phone");
    expect(close).toHaveBeenCalledOnce();
    expect((await events.next()).done).toBe(true);
    expect(close).toHaveBeenCalledOnce();
  });

  test("ends at once for a device that went while it was being opened", async () => {
    const { device, events, close } = openSubscription();
    device.abort(failure("NetworkError", "test"));
    expect((await events.next()).done).toBe(true);
    expect(close).toHaveBeenCalledOnce();
  });
});

describe("a token", () => {
  test("that expires ends the subscription with 1501 at that moment", async () => {
    vi.useFakeTimers();
    const { events } = openSubscription({ tokenTtlMs: 60_000 });
    const ended = vi.fn();
    const reading = (async () => {
      for await (const _ of events);
    })().catch((error: unknown) => ended(toErrorFacts(error).errCode));
    await vi.advanceTimersByTimeAsync(59_000);
    expect(ended).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1_000);
    await reading;
    expect(ended).toHaveBeenCalledWith(1501);
  });

  test("that is valid for longer than a timer can wait does not end it before", async () => {
    vi.useFakeTimers();
    const { events } = openSubscription({ tokenTtlMs: 60 * dayMs });
    const ended = vi.fn();
    const reading = (async () => {
      for await (const _ of events);
    })().catch((error: unknown) => ended(toErrorFacts(error).errCode));
    await vi.advanceTimersByTimeAsync(59 * dayMs);
    expect(ended).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(2 * dayMs);
    await reading;
    expect(ended).toHaveBeenCalledWith(1501);
  });
});
