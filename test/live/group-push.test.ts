import { expect, test } from "vitest";
import { createGroupPush } from "../../src/live/group-push.ts";
import type { Push } from "../../src/live/push-queue.ts";

/** Groups whose pushes are told by hand, and a list of a user's groups that is read whenever it is let. */
function open() {
  const listening = new Map<string, (notification: Uint8Array) => void>();
  const reads: ((groupIds: readonly string[]) => void)[] = [];
  const got: Push[] = [];
  const push = createGroupPush(
    {
      subscribeGroup(groupId, onPush) {
        listening.set(groupId, onPush);
        return { stop: () => void listening.delete(groupId) };
      },
    },
    () => new Promise((resolve) => reads.push(resolve)),
  );
  const membership = push.join("alice", { push: (one) => void got.push(one) });
  return { membership, reads, got, listening: () => [...listening.keys()].sort() };
}

test("two reads of a user's groups may end at the same moment", async () => {
  const { membership, reads, listening } = open();
  const both = Promise.all([membership.refresh(), membership.refresh()]);
  for (const read of reads) read(["crew"]);
  await both;
  expect(listening()).toEqual(["crew"]);
});

test("what changes while the groups are read is newer than what is read, for each who reads", async () => {
  const { membership, reads, listening } = open();
  const both = Promise.all([membership.refresh(), membership.refresh()]);
  membership.change({ groupId: "left", joined: false, version: 2 });
  membership.change({ groupId: "joined", joined: true, version: 1 });
  for (const read of reads) read(["left", "crew"]);
  await both;
  expect(listening()).toEqual(["crew", "joined"]);
  const later = membership.refresh();
  reads.at(-1)?.(["crew"]);
  await later;
  expect(listening()).toEqual(["crew"]);
});
