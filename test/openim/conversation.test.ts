import { expect, test } from "vitest";
import { conversationId, epochsOf, toNumber, toSequence, unreachedNumber } from "../../src/openim/conversation.ts";

test("a conversation is one of the SDKs' notifications, and of one user and epoch", () => {
  expect(conversationId("alice", "e1")).toBe("n_mustreach_alice_e1");
  expect(conversationId("alice", "")).toBe("n_mustreach_alice");
});

test("a number says which sequence it is of, and none follows another", () => {
  for (const sequence of [0, 1, 2, 7_000, 2 ** 42]) expect(toSequence(toNumber(sequence))).toBe(sequence);
  expect(toNumber(8) - toNumber(7)).toBe(1_000);
  // A million a second for a century.
  expect(toNumber(3_200_000_000_000_000 / 1_000)).toBeLessThan(unreachedNumber);
});

test("a device is asked for the newest 64 epochs, and for what was stored before there were any", () => {
  const lineage = (count: number, first: number) =>
    Array.from({ length: count }, (_, i) => ({ id: `e${i}`, first: first + i }));
  expect(epochsOf([])).toEqual([]);
  expect(epochsOf(lineage(2, 1))).toEqual(["e0", "e1"]);
  expect(epochsOf(lineage(2, 9))).toEqual(["", "e0", "e1"]);
  expect(epochsOf(lineage(64, 9))).toEqual(lineage(64, 9).map(({ id }) => id));
  expect(epochsOf(lineage(70, 1))[0]).toBe("e6");
});
