import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { maxConversationIdBytes, partiesNamed, toConversationId, toParties } from "../../src/chat/conversation-id.ts";
import { fuzz } from "../helpers/fuzz.ts";

const toUser = (sendUserId: string, recvUserId: string) => toParties({ sendUserId, recvUserId, recvGroupId: "" });
const toGroup = (recvGroupId: string) => toParties({ sendUserId: "imAdmin", recvUserId: "", recvGroupId });

describe("the conversation of a notification", () => {
  test("to a user is that of both, whoever sends, with their ids in order", () => {
    expect(toUser("imAdmin", "alice")).toEqual({ userIds: ["alice", "imAdmin"] });
    expect(toUser("alice", "imAdmin")).toEqual({ userIds: ["alice", "imAdmin"] });
    expect(toConversationId(toUser("imAdmin", "alice"))).toBe("si_alice_imAdmin");
    expect(toConversationId(toUser("alice", "alice"))).toBe("si_alice_alice");
    expect(toConversationId(toUser("2", "10"))).toBe("si_10_2");
  });

  test("to a group is the group's", () => {
    expect(toGroup("g_1")).toEqual({ groupId: "g_1" });
    expect(toConversationId(toGroup("g_1"))).toBe("sg_g_1");
  });

  test("orders ids by their bytes, as OpenIM: JavaScript would put U+1D4B3 before U+FFFD", () => {
    expect("𝒳" < "\u{fffd}").toBe(true);
    expect(toConversationId(toUser("𝒳", "\u{fffd}"))).toBe("si_\u{fffd}_𝒳");
  });
});

describe("an id names", () => {
  test("the parties that it was made of, for each of them and for anybody, whatever their ids are", () => {
    const id = fc.oneof(
      fc.string({ minLength: 1, maxLength: 20, unit: "grapheme" }),
      fc.string({ minLength: 1, maxLength: 6, unit: fc.constantFrom("_", "a", "b") }),
    );
    const isUsable = (value: string) => !/[\p{Cc}\p{Cs}]/u.test(value);
    fc.assert(
      fc.property(id.filter(isUsable), id.filter(isUsable), (a, b) => {
        const parties = toUser(a, b);
        const conversationId = toConversationId(parties);
        expect(partiesNamed(conversationId)).toContainEqual(parties);
        for (const userId of [a, b]) {
          const own = partiesNamed(conversationId, userId);
          expect(own).toContainEqual(parties);
          for (const named of own) expect(named).toMatchObject({ userIds: expect.arrayContaining([userId]) });
        }
        expect(partiesNamed(toConversationId({ groupId: a }), b)).toEqual([{ groupId: a }]);
      }),
      fuzz(100),
    );
  });

  test("each pair that it can be of", () => {
    expect(partiesNamed("si_a_b_c")).toEqual([{ userIds: ["a", "b_c"] }, { userIds: ["a_b", "c"] }]);
    expect(partiesNamed("si_a_b_c", "a")).toEqual([{ userIds: ["a", "b_c"] }]);
    expect(partiesNamed("si_a_b_c", "c")).toEqual([{ userIds: ["a_b", "c"] }]);
    expect(partiesNamed("si_a_b_c", "b")).toEqual([]);
  });

  test.each([
    ["a pair that is not in order", "si_b_a"],
    ["one user", "si_a"],
    ["an empty user", "si__"],
    ["an empty group", "sg_"],
    ["a conversation of notifications of OpenIM", "n_a_b"],
    ["nothing", ""],
    ["a user id that is too long", `si_${"a".repeat(1_025)}_b`],
    ["a group id that is too long", `sg_${"g".repeat(1_025)}`],
    ["a control character", "si_a_b\n"],
  ])("nobody: %s", (_, conversationId) => {
    expect(partiesNamed(conversationId)).toEqual([]);
  });

  test("parties quickly, however many it could be of", () => {
    const conversationId = `si_${"_".repeat(maxConversationIdBytes - 3)}`;
    expect(Buffer.byteLength(conversationId)).toBe(maxConversationIdBytes);
    expect(partiesNamed(conversationId)).toEqual([{ userIds: ["_".repeat(1_024), "_".repeat(1_024)] }]);
    // What tried all divisions of them would not end within the test's time.
    for (let n = 0; n < 20; n++) partiesNamed(`si_${"_".repeat(1_500)}`);
  });
});
