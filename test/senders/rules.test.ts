import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { retryAfterMsOf, toErrorFacts } from "../../src/errors.ts";
import { readSenderRights, type SenderRights } from "../../src/senders/rights.ts";
import { createSendRules, type RuledSend } from "../../src/senders/rules.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const none = {
  sendUserId: "orders",
  recvUserId: "",
  recvGroupId: "",
  recvUserIds: [],
  key: "order.paid",
  collapseKey: "",
};
const rights: SenderRights = { keys: ["order.", "bill."], recipients: ["shop-"] };

function codeOf(attempt: () => void): { errCode: number; errDlt: string } {
  try {
    attempt();
    return { errCode: 0, errDlt: "" };
  } catch (error) {
    return toErrorFacts(error);
  }
}

test.each<[what: string, errCode: number, send: Partial<RuledSend>]>([
  ["to a user", 0, { recvUserId: "shop-1" }],
  ["to a group", 0, { recvGroupId: "shop-1" }],
  ["to a list", 0, { recvUserIds: ["shop-1", "shop-2"] }],
  ["with the other key", 0, { recvUserId: "shop-1", key: "bill.due" }],
  ["with a collapse key", 0, { recvUserId: "shop-1", collapseKey: "order.7" }],
  ["to another user", 1002, { recvUserId: "shop" }],
  ["to another group", 1002, { recvGroupId: "all" }],
  ["to a list with another user", 1002, { recvUserIds: ["shop-1", "alice"] }],
  ["with another key", 1002, { recvUserId: "shop-1", key: "Order.paid" }],
  ["with another's collapse key", 1002, { recvUserId: "shop-1", collapseKey: "alarm" }],
  ["by another name", 1002, { recvUserId: "shop-1", sendUserId: "imAdmin" }],
])("a send %s is answered %i", (_, errCode, send) => {
  const allow = createSendRules()({ userId: "orders", sender: rights });
  expect(codeOf(() => allow({ ...none, ...send })).errCode).toBe(errCode);
});

test("a refusal says what is allowed", () => {
  const allow = createSendRules()({ userId: "orders", sender: rights });
  expect(codeOf(() => allow({ ...none, recvUserId: "shop-1", key: "x" })).errDlt).toBe(
    'key "x" is not for this sender: the token allows what begins with "order.", "bill."',
  );
});

test("an admin sends anything, and a sender without limits anything by its own name", () => {
  const rules = createSendRules();
  const send = { ...none, recvUserId: "anybody", key: "anything" };
  for (let i = 0; i < 1_000; i++) rules({ userId: "imAdmin" })(send);
  rules({ userId: "orders", sender: {} })(send);
  expect(codeOf(() => rules({ userId: "bills", sender: {} })(send)).errCode).toBe(1002);
});

describe("a rate", () => {
  const send = { ...none, recvUserId: "shop-1" };
  const sender = { ...rights, perMinute: 600 };

  test("lets a tenth of it through at once, then as it says; each user has its own", () => {
    const rules = createSendRules();
    const codes = (count: number, userId = "orders") =>
      Array.from(
        { length: count },
        () => codeOf(() => rules({ userId, sender })({ ...send, sendUserId: userId })).errCode,
      );
    expect(codes(61)).toEqual([...Array(60).fill(0), 429]);
    expect(codes(1, "bills")).toEqual([0]);
    vi.advanceTimersByTime(1_000);
    expect(codes(11)).toEqual([...Array(10).fill(0), 429]);
    vi.advanceTimersByTime(60_000);
    expect(codes(61)).toEqual([...Array(60).fill(0), 429]);
  });

  test("says when to try again, and takes nothing for what is refused anyway", () => {
    const rules = createSendRules();
    const slow = { userId: "orders", sender: { ...rights, perMinute: 1 } };
    expect(codeOf(() => rules(slow)({ ...send, key: "x" })).errCode).toBe(1002);
    rules(slow)(send);
    try {
      rules(slow)(send);
      expect.unreachable();
    } catch (error) {
      expect(retryAfterMsOf(error)).toBe(60_000);
    }
  });

  test("has none of a batch overtake the one that was beyond it", () => {
    const allow = createSendRules()({ userId: "orders", sender: { perMinute: 1 } });
    allow(send);
    expect(codeOf(() => allow(send)).errCode).toBe(429);
    vi.advanceTimersByTime(60_000);
    expect(codeOf(() => allow(send)).errCode).toBe(429);
  });
});

test.each([
  [{}],
  [{ send: null }],
  [{ send: { keys: "order." } }],
  [{ send: { keys: [] } }],
  [{ send: { keys: [""] } }],
  [{ send: { recipient: ["shop-"] } }],
  [{ send: {}, receive: {} }],
  [{ send: { perMinute: 0 } }],
  [{ send: { perMinute: 1_000_001 } }],
  [{ send: { keys: Array(101).fill("order.") } }],
  [true],
])("the claim %j is none", (claim) => {
  expect(() => readSenderRights(claim)).toThrow();
});

test("the claim may be as large as it can be", () => {
  const send = { keys: Array(100).fill("order."), recipients: ["shop-"], perMinute: 1_000_000 };
  expect(readSenderRights({ send })).toEqual(send);
  expect(readSenderRights({ send: {} })).toEqual({});
});
