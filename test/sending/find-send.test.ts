import { describe, expect, test } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { findSend, recipientsOf, requireReference } from "../../src/sending/find-send.ts";
import { createServerMsgId, keyOfClientMsgId, keyOfServerMsgId } from "../../src/sending/ids.ts";
import type { SendRecord, SendReference } from "../../src/sending/record.ts";
import { toSendRecord } from "../helpers/send-records.ts";

const record = (clientMsgId: string, change: Partial<SendRecord> = {}) =>
  toSendRecord(clientMsgId, { sendTime: 1_700_000_000_000, recvUserId: "ann", ...change });

function useRecords(...records: SendRecord[]) {
  const byKey = new Map(records.map((send) => [keyOfClientMsgId(send.clientMsgId), send]));
  const find = async ({ serverMsgId, clientMsgId }: SendReference) =>
    byKey.get(serverMsgId === "" ? keyOfClientMsgId(clientMsgId) : keyOfServerMsgId(serverMsgId));
  const deps = { sends: { find }, membersAt: async () => ["bob", "cat"] };
  return {
    byServer: (serverMsgId: string) => findSend(deps, { serverMsgId, clientMsgId: "" }),
    byClient: (clientMsgId: string) => findSend(deps, { serverMsgId: "", clientMsgId }),
  };
}

describe("a reference", () => {
  const hex = "0123456789abcdef0123456789abcdef";

  test("is one id of the two", () => {
    for (const reference of [
      { serverMsgId: hex, clientMsgId: "" },
      { serverMsgId: "", clientMsgId: "order-77 *.>" },
    ]) {
      expect(requireReference(reference)).toEqual(reference);
    }
  });

  test.each([
    ["no id", "", "", /exactly one of serverMsgID and clientMsgID/],
    ["both ids", hex, "order-77", /exactly one of serverMsgID and clientMsgID/],
    ["a server id that is too short", hex.slice(1), "", /serverMsgID.*32/],
    ["a server id in upper case", hex.toUpperCase(), "", /serverMsgID.*32/],
    // What follows its time is the key, and so a token of a subject.
    ["a wildcard in the server id", `${hex.slice(0, 12)}*`, "", /serverMsgID.*32/],
    ["separators in the server id", `${hex.slice(0, 30)}.>`, "", /serverMsgID.*32/],
    ["a line break after the server id", `${hex}\n`, "", /serverMsgID.*32/],
    ["a client id that is too long", "", "x".repeat(257), /clientMsgID.*256/],
    ["a control character in the client id", "", "a\u0000", /clientMsgID.*control/],
  ])("with %s is refused with 1001", (_, serverMsgId, clientMsgId, errDlt) => {
    const refusal = (() => {
      try {
        return requireReference({ serverMsgId, clientMsgId });
      } catch (error) {
        return toErrorFacts(error);
      }
    })();
    expect(refusal).toMatchObject({ errCode: 1001, errDlt: expect.stringMatching(errDlt) });
  });
});

describe("a send", () => {
  test("is found by either of its ids, with its recipients", async () => {
    const send = record("order-77");
    const { byServer, byClient } = useRecords(send, record("order-78"));
    const found = await byServer(send.serverMsgId);
    expect(found).toEqual({
      record: send,
      recipients: ["ann"],
    });
    expect(await byClient("order-77")).toEqual(found);
  });

  test("to a group is found with the recipients of that", async () => {
    const { byClient } = useRecords(record("order-77", { recvUserId: "", recvGroupId: "team", groupVersion: 3 }));
    expect((await byClient("order-77")).recipients).toEqual(["bob", "cat"]);
  });

  test("that is not known is 1004, and so is an online push", async () => {
    const push = record("push", { mustReach: false });
    const { byServer, byClient } = useRecords(push);
    for (const lookUp of [
      byClient("unknown"),
      byServer(createServerMsgId(1, "unknown")),
      byClient("push"),
      byServer(push.serverMsgId),
    ]) {
      expect(await lookUp.catch(toErrorFacts)).toMatchObject({ errCode: 1004 });
    }
  });
});

const asked: string[] = [];
const members: readonly string[] = Object.freeze(["zoe", "Ann", "bob", "日本", "ann"]);
const membersAt = async (groupId: string, version: number) => {
  asked.push(`${groupId}@${version}`);
  return members;
};

test("a send to a user is for that user, and no group is asked", async () => {
  expect(
    await recipientsOf(membersAt, { recvUserId: "ann", recvGroupId: "", recvUserIds: [], groupVersion: 0 }),
  ).toEqual(["ann"]);
  expect(asked).toEqual([]);
});

test("a send to a group is for its members at the version of the send, in the order of their ids", async () => {
  const send = { recvUserId: "", recvGroupId: "team", recvUserIds: [], groupVersion: 7 };
  const recipients = await recipientsOf(membersAt, send);
  expect(asked).toEqual(["team@7"]);
  expect(recipients).toEqual(["Ann", "ann", "bob", "zoe", "日本"]);
  // The list may be the directory's own.
  expect(members[0]).toBe("zoe");
});
