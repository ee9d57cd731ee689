import { expect, test, vi } from "vitest";
import { toToken } from "../../src/broker/subjects.ts";
import type { ReachEntry } from "../../src/reaching/entry.ts";
import { createReminders } from "../../src/reaching/reminders.ts";

function toEntry(change: Partial<ReachEntry> = {}) {
  const userId = change.userId ?? "ann";
  return {
    ...{ partition: 0, sequence: 1, storedAtMs: 1_000, kind: "notification", notifications: 1 },
    ...{ expiresAtMs: undefined, escalateAfterMs: undefined, ack: vi.fn(), nak: vi.fn() },
    ...change,
    ...{ userId, userToken: toToken(userId) },
  };
}

function open(maxUsers?: number) {
  const given: { readonly entry: ReachEntry; readonly dueMs: number }[] = [];
  const reminders = createReminders((entry, dueMs) => void given.push({ entry, dueMs }), maxUsers);
  return { given, keep: reminders.keep };
}

test("an entry is acknowledged to the broker, and given out again at its time as it was", () => {
  const { given, keep } = open();
  const entry = toEntry({ sequence: 7, expiresAtMs: 9_000 });
  expect(keep(entry, 5_000)).toBe(true);
  expect(entry.ack).toHaveBeenCalledOnce();
  const facts = { userId: "ann", userToken: toToken("ann"), sequence: 7, storedAtMs: 1_000, expiresAtMs: 9_000 };
  expect(given).toMatchObject([{ dueMs: 5_000, entry: { ...facts, notifications: 1 } }]);
});

test("the newest of a user stands for all, is as young as it, and expires with the last", () => {
  const { given, keep } = open();
  keep(toEntry({ sequence: 7, storedAtMs: 1_000, expiresAtMs: 8_000 }), 5_000);
  const later = [
    toEntry({ sequence: 9, storedAtMs: 3_000, expiresAtMs: 9_000 }),
    toEntry({ sequence: 8, storedAtMs: 2_000, expiresAtMs: 6_000 }),
  ];
  for (const entry of later) expect(keep(entry, 6_000)).toBe(true);
  for (const entry of later) expect(entry.ack).toHaveBeenCalledOnce();
  expect(given).toHaveLength(1);
  expect(given[0]?.entry).toMatchObject({ sequence: 9, storedAtMs: 3_000, expiresAtMs: 9_000, notifications: 3 });
  keep(toEntry({ sequence: 10 }), 6_000);
  expect(given[0]?.entry).toMatchObject({ sequence: 10, expiresAtMs: undefined, notifications: 4 });
  keep(toEntry({ sequence: 11, expiresAtMs: 9_000 }), 6_000);
  expect(given[0]?.entry).toMatchObject({ sequence: 11, expiresAtMs: undefined, notifications: 5 });
});

test("what is for one device only has a reminder of its own", () => {
  const { given, keep } = open();
  const devices = { recvDeviceId: "phone", exceptDeviceId: "" };
  keep(toEntry({ sequence: 7, devices }), 5_000);
  keep(toEntry({ sequence: 8 }), 5_000);
  keep(toEntry({ sequence: 9, devices }), 5_000);
  expect(given.map(({ entry }) => [entry.sequence, entry.notifications])).toEqual([
    [9, 2],
    [8, 1],
  ]);
});

test("one that is not done is given out again", () => {
  const { given, keep } = open();
  keep(toEntry(), 5_000);
  const [first] = given;
  if (first === undefined) throw new Error("nothing was given out");
  expect(keep(first.entry, 15_000)).toBe(true);
  expect(given[1]).toEqual({ entry: first.entry, dueMs: 15_000 });
  const nowMs = Date.now();
  first.entry.nak(2_000);
  expect(given[2]?.entry).toBe(first.entry);
  expect(given[2]?.dueMs).toBeGreaterThanOrEqual(nowMs + 2_000);
});

test("one that is done makes room for another user's, and for another of its own", () => {
  const { given, keep } = open(1);
  keep(toEntry(), 5_000);
  const other = toEntry({ userId: "bob" });
  expect(keep(other, 5_000)).toBe(false);
  expect(other.ack).not.toHaveBeenCalled();
  expect(keep(toEntry({ sequence: 2 }), 5_000)).toBe(true);
  given[0]?.entry.ack();
  expect(keep(other, 5_000)).toBe(true);
  expect(keep(toEntry({ sequence: 3 }), 5_000)).toBe(false);
  given[1]?.entry.ack();
  expect(keep(toEntry({ sequence: 4 }), 6_000)).toBe(true);
  expect(given.at(-1)?.entry).toMatchObject({ sequence: 4, notifications: 1 });
});
