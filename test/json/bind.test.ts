import { describe, expect, test } from "vitest";
import { GetUserTokenRequestSchema, ParseTokenRequestSchema } from "../../src/gen/mustreach/auth/v1/auth_pb.ts";
import {
  CreateGroupRequestSchema,
  ListMembersRequestSchema,
} from "../../src/gen/mustreach/directory/v1/directory_pb.ts";
import {
  MarkConversationAsReadRequestSchema,
  PullMessagesRequestSchema,
  RecallBusinessNotificationRequestSchema,
  SendBusinessNotificationBatchRequestSchema,
  SendBusinessNotificationRequestSchema,
} from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { BindError, bind, toText } from "../../src/json/bind.ts";

const sendPath = { input: SendBusinessNotificationRequestSchema };
const authPath = { input: GetUserTokenRequestSchema };

/** A body that binds, but for the change. */
const bodyWith = (change: object) =>
  JSON.stringify({ sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "d", ...change });

function refusalOf(run: () => unknown): BindError {
  try {
    run();
  } catch (error) {
    if (error instanceof BindError) return error;
    throw error;
  }
  throw new Error("it was bound");
}

describe("what binds", () => {
  test("the documented keys", () => {
    const body = bodyWith({
      recvGroupID: "",
      sendMsg: true,
      reliabilityLevel: 2,
      clientMsgID: "order-77",
      ttlSeconds: 60,
    });
    expect(bind(sendPath, body)).toMatchObject({
      sendUserId: "imAdmin",
      recvUserId: "alice",
      recvGroupId: "",
      key: "k",
      data: "d",
      sendMsg: true,
      reliabilityLevel: 2,
      clientMsgId: "order-77",
      ttlSeconds: 60,
    });
  });

  test("unknown keys are ignored, whatever they hold", () => {
    const body = bodyWith({ offlinePushInfo: { title: "t" }, __proto__x: 1, constructor: [], "": null, errCode: "1" });
    expect(bind(sendPath, body)).toMatchObject({ recvUserId: "alice", data: "d" });
  });

  test("null is as good as absent", () => {
    const bound = bind(sendPath, bodyWith({ recvGroupID: null, sendMsg: null, reliabilityLevel: null, data: null }));
    expect(bound).toMatchObject({ recvGroupId: "", sendMsg: false });
    expect(bound).not.toHaveProperty("data");
    expect(bound).not.toHaveProperty("reliabilityLevel");
  });

  test("an absent data and an absent reliabilityLevel are told from empty ones", () => {
    expect(bind(sendPath, bodyWith({ data: "", reliabilityLevel: 0 }))).toMatchObject({
      data: "",
      reliabilityLevel: 0,
    });
    expect(bind(sendPath, bodyWith({ data: undefined }))).not.toHaveProperty("data");
  });

  test("a whole number is one however it is written", () => {
    for (const level of ["2.0", "2e0", "20e-1"]) {
      const body = bodyWith({}).replace("}", `,"reliabilityLevel":${level}}`);
      expect(bind(sendPath, body), level).toMatchObject({ reliabilityLevel: 2 });
    }
  });

  test("text arrives as it was written, escaped or not", () => {
    const data = `"quotes" \\ \u0000 \u2028 😀 日本`;
    expect(bind(sendPath, bodyWith({ data }))).toMatchObject({ data });
    const escaped = bodyWith({}).replace('"d"', '"\\u0000\\ud83d\\ude00\\u65e5\\/"');
    expect(bind(sendPath, escaped)).toMatchObject({ data: "\u0000😀日/" });
  });
});

describe("what does not bind is a 400", () => {
  test.each([
    ["nothing", ""],
    ["a space", " "],
    ["no JSON", "hello"],
    ["JSON that is cut off", '{"sendUserID":"imAdmin"'],
    ["two values", "{} {}"],
    ["a form", "sendUserID=imAdmin&recvUserID=alice"],
    ["null", "null"],
    ["a list", "[]"],
    ["a text", '"x"'],
    ["a number", "1"],
    ["a number as data", bodyWith({ data: 77 })],
    ["an object as data", bodyWith({ data: { id: 77 } })],
    ["a list as recvUserID", bodyWith({ recvUserID: ["alice"] })],
    ["a number as recvUserID", bodyWith({ recvUserID: 2839678182 })],
    ["a text as sendMsg", bodyWith({ sendMsg: "true" })],
    ["a number as sendMsg", bodyWith({ sendMsg: 1 })],
    ["a text as reliabilityLevel", bodyWith({ reliabilityLevel: "2" })],
    ["a fraction as reliabilityLevel", bodyWith({ reliabilityLevel: 2.5 })],
    ["a boolean as reliabilityLevel", bodyWith({ reliabilityLevel: true })],
    ["a reliabilityLevel beyond 32 bits", bodyWith({ reliabilityLevel: 2 ** 31 })],
    ["a text as ttlSeconds", bodyWith({ ttlSeconds: "60" })],
    // protobuf's JSON takes the names of the proto too: then it must not be a guess who gets it.
    ["a recipient in two spellings", bodyWith({ recv_user_id: "mallory" })],
    ["no sendUserID", bodyWith({ sendUserID: undefined })],
    ["an empty sendUserID", bodyWith({ sendUserID: "" })],
    ["null as sendUserID", bodyWith({ sendUserID: null })],
  ])("%s", (_, body) => {
    const refusal = refusalOf(() => bind(sendPath, body));
    expect(refusal.httpStatus).toBe(400);
    expect(refusal.message).not.toBe("");
  });

  test("of one more value than a batch has, too", () => {
    expect(refusalOf(() => bind({ input: SendBusinessNotificationBatchRequestSchema }, "{} {}")).httpStatus).toBe(400);
  });

  test("but on the paths that OpenIM binds otherwise a 200", () => {
    for (const input of [
      CreateGroupRequestSchema,
      ListMembersRequestSchema,
      PullMessagesRequestSchema,
      MarkConversationAsReadRequestSchema,
      RecallBusinessNotificationRequestSchema,
    ]) {
      expect(refusalOf(() => bind({ input }, "{")).httpStatus, input.name).toBe(200);
    }
  });

  test("but under /auth/ a 200, as in OpenIM", () => {
    expect(refusalOf(() => bind(authPath, "{")).httpStatus).toBe(200);
    expect(refusalOf(() => bind(authPath, '{"userID":1}')).httpStatus).toBe(200);
    expect(refusalOf(() => bind(authPath, '{"userID":"alice","platformID":"5"}')).httpStatus).toBe(200);
  });

  test("the message repeats nothing of a body that is not JSON: it may hold a token", () => {
    const { message } = refusalOf(() => bind({ input: ParseTokenRequestSchema }, '{"token": eyJhbGciOi.eyJVc2.sig}'));
    expect(message).not.toContain("eyJ");
  });

  test("the message names the field, in the caller's words", () => {
    expect(refusalOf(() => bind(sendPath, bodyWith({ recvUserID: 1 }))).message).toMatch(/^recvUserID: /);
    expect(refusalOf(() => bind(sendPath, bodyWith({ reliabilityLevel: "2" }))).message).toContain("reliabilityLevel");
    expect(refusalOf(() => bind(sendPath, bodyWith({ sendUserID: "" }))).message).toContain("sendUserID");
  });

  test("a value is repeated in part only", () => {
    const nines = "9".repeat(8_000_000);
    for (const body of [{ sendAt: nines }, { sendAt: [nines] }, { data: 1, sendAt: nines }, { sendMsg: nines }]) {
      expect(refusalOf(() => bind(sendPath, bodyWith(body))).message.length).toBeLessThan(150);
    }
    const nested = { notifications: [{ sendAt: nines }] };
    const batch = { input: SendBusinessNotificationBatchRequestSchema };
    expect(refusalOf(() => bind(batch, JSON.stringify(nested))).message.length).toBeLessThan(150);
    expect(refusalOf(() => bind(sendPath, bodyWith({ sendAt: nines }))).message).toMatch(/^sendAt: .* out of range$/);
  });
});

describe("keys that are no fields", () => {
  const unknownIn = (body: string, isStrict = false) => {
    const told: string[][] = [];
    const bound = () => bind({ ...sendPath, isStrict }, body, (names) => told.push([...names]));
    return { told, bound };
  };

  test("are told", () => {
    const { told, bound } = unknownIn(bodyWith({ reliabiltyLevel: 2, offlinePushInfo: {} }));
    expect(bound()).toMatchObject({ recvUserId: "alice" });
    expect(told).toEqual([["reliabiltyLevel", "offlinePushInfo"]]);
  });

  test("are told also when the body is refused", () => {
    const { told, bound } = unknownIn(bodyWith({ sendUserID: undefined, sendUser: "imAdmin" }));
    expect(bound).toThrow(BindError);
    expect(told).toEqual([["sendUser"]]);
  });

  test("are no matter when there are none", () => {
    const { told, bound } = unknownIn(bodyWith({ ReliabilityLevel: 2 }));
    bound();
    expect(told).toEqual([]);
  });

  test("refuse the body, if that is asked for", () => {
    const { bound } = unknownIn(bodyWith({ reliabiltyLevel: 2 }), true);
    expect(refusalOf(bound)).toMatchObject({ httpStatus: 400, message: "unknown: reliabiltyLevel" });
    expect(unknownIn(bodyWith({ ReliabilityLevel: 2 }), true).bound()).toMatchObject({ reliabilityLevel: 2 });
  });
});

test.each([[[0x22, 0xff, 0x22]], [[0x22, 0xc3, 0x22]], [[0x22, 0xed, 0xa0, 0x80, 0x22]]])(
  "bytes that are not UTF-8 are refused, rather than changed: %j",
  (bytes) => {
    expect(refusalOf(() => toText(Buffer.from(bytes), 400))).toMatchObject({ httpStatus: 400 });
  },
);
