import { describe, expect, test } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { createCentral } from "../../src/workers/central.ts";

const open = (limits: { maxSessions?: number; maxSessionsPerUser?: number; maxSessionsPerAddress?: number } = {}) => {
  const all = {
    maxSessions: 100,
    maxSessionsPerUser: 50,
    maxSessionsPerAddress: 0,
    quotaCaller: 0,
    quotaRecipient: 0,
    ...limits,
  };
  const central = createCentral(all, () => ({ address: "127.0.0.1:1", seed: new Uint8Array() }));
  return [central.forWorker(), central.forWorker()] as const;
};

const alice = (device: string) => ({ userId: "alice", peer: "10.0.0.1", device, isTakeover: false });

const refusalOf = (work: () => unknown) => {
  try {
    work();
    return undefined;
  } catch (error) {
    return toErrorFacts(error).errCode;
  }
};

describe("what is counted for all workers", () => {
  test("sessions, of all, of a user and of an address", () => {
    for (const limits of [{ maxSessions: 2 }, { maxSessionsPerUser: 2 }, { maxSessionsPerAddress: 2 }]) {
      const [first, second] = open(limits);
      const ticket = first.calls.enter(alice("a"));
      second.calls.enter(alice("b"));
      for (const { calls } of [first, second]) expect(refusalOf(() => calls.enter(alice("c")))).toBe(1601);
      first.calls.leave(ticket);
      first.calls.leave(ticket);
      expect(refusalOf(() => second.calls.enter(alice("c")))).toBeUndefined();
      expect(refusalOf(() => first.calls.enter(alice("d")))).toBe(1601);
    }
  });

  test("a device that comes back on another worker is let in at its user's limit, and a new one is not", () => {
    const [first, second] = open({ maxSessionsPerUser: 2 });
    first.calls.enter(alice("watch"));
    const old = first.calls.enter(alice("phone"));
    expect(refusalOf(() => second.calls.enter(alice("tablet")))).toBe(1601);
    const next = second.calls.enter(alice("phone"));
    first.calls.leave(old);
    expect(refusalOf(() => first.calls.enter(alice("tablet")))).toBe(1601);
    second.calls.leave(next);
    expect(refusalOf(() => first.calls.enter(alice("tablet")))).toBeUndefined();
  });

  test("what a worker had open is free when it has ended", () => {
    const [first, second] = open({ maxSessions: 2 });
    first.calls.enter(alice("a"));
    first.calls.enter(alice("b"));
    expect(refusalOf(() => second.calls.enter(alice("c")))).toBe(1601);
    first.left();
    second.calls.enter(alice("c"));
    second.calls.enter(alice("d"));
    expect(refusalOf(() => second.calls.enter(alice("e")))).toBe(1601);
  });

  test("wrong secrets, by address", () => {
    const workers = open();
    for (let i = 0; i < 10; i++) {
      expect(refusalOf(() => workers[(i + 1) % 2]?.calls.checkGuess("10.0.0.1"))).toBeUndefined();
      workers[i % 2]?.calls.wrongGuess("10.0.0.1");
    }
    for (const { calls } of workers) {
      expect(refusalOf(() => calls.checkGuess("10.0.0.1"))).toBe(429);
      expect(refusalOf(() => calls.checkGuess("10.0.0.2"))).toBeUndefined();
    }
  });
});
