import { expect, test } from "vitest";
import { chunksOf, createAudience } from "../../src/sending/audience.ts";

const asked: string[] = [];
const members: readonly string[] = Object.freeze(["zoe", "Ann", "bob", "日本", "ann"]);
const audience = createAudience(async (groupId, version) => {
  asked.push(`${groupId}@${version}`);
  return members;
});

test("a send to a user is for that user, and no group is asked", async () => {
  expect(await audience({ recvUserId: "ann", recvGroupId: "", groupVersion: 0 })).toEqual(["ann"]);
  expect(asked).toEqual([]);
});

test("a send to a group is for its members at the version of the send, in the order of their ids", async () => {
  const recipients = await audience({ recvUserId: "", recvGroupId: "team", groupVersion: 7 });
  expect(asked).toEqual(["team@7"]);
  expect(recipients).toEqual(["Ann", "ann", "bob", "zoe", "日本"]);
  // The list may be the directory's own.
  expect(members[0]).toBe("zoe");
});

test.each([0, 1, 499, 500, 501, 1_001])("chunks of %i recipients are all of them, at most 500 each", (count) => {
  const recipients = Array.from({ length: count }, (_, i) => `user ${i}`);
  const chunks = [...chunksOf(recipients)];
  expect(chunks.flat()).toEqual(recipients);
  for (const chunk of chunks) expect(chunk.length).toBeLessThanOrEqual(500);
  expect(chunks).toHaveLength(Math.ceil(count / 500));
});
