import { expect, test } from "vitest";
import { compose } from "../../../src/verify/callers/compose.ts";
import { createRandom } from "../../../src/verify/random.ts";

/** Many sends, which have every wish among them. */
function composeMany(lacking: ReadonlySet<string>) {
  const userIds = ["ann", "bob", "cem", "dan"];
  const [groupIds, deviceIds] = [["crew"], ["phone", "laptop"]];
  const random = createRandom(1, "compose");
  const ingredients = { userIds, groupIds, deviceIds, random, now: () => 0, lacking };
  return Array.from({ length: 2_000 }, (_, n) => compose(`send ${n}`, ingredients));
}

type Sends = ReturnType<typeof composeMany>;

const wishes: Record<string, (send: Sends[number]) => boolean> = {
  recvUserIds: ({ recvUserIds }) => recvUserIds.length > 0,
  recvDeviceId: ({ recvDeviceId }) => recvDeviceId !== "",
  exceptDeviceId: ({ exceptDeviceId }) => exceptDeviceId !== "",
  ackScope: ({ isSettledByOne }) => isSettledByOne,
  collapseKey: ({ collapseKey }) => collapseKey !== "",
  sendAt: ({ sendAt }) => sendAt !== 0,
  ttlSeconds: ({ ttlSeconds }) => ttlSeconds !== 0,
  sendMsg: ({ sendMsg }) => sendMsg,
};

test.each(Object.entries(wishes))("%s is in no send where it is not known, and in some where it is", (field, has) => {
  expect(composeMany(new Set()).some(has)).toBe(true);
  const sends = composeMany(new Set([field]));
  expect(sends.filter(has)).toEqual([]);
  for (const [other, hasOther] of Object.entries(wishes)) if (other !== field) expect(sends.some(hasOther)).toBe(true);
});

test("what is not known leaves a send that has exactly one kind of recipient", () => {
  for (const { recvUserId, recvGroupId, recvUserIds } of composeMany(new Set(Object.keys(wishes)))) {
    expect([recvUserId, recvGroupId].filter(Boolean).length + recvUserIds.length).toBe(1);
  }
});
