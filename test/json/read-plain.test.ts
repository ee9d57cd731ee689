import { type DescMessage, fromJson, type JsonValue } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CreateGroupRequestSchema } from "../../src/gen/mustreach/directory/v1/directory_pb.ts";
import {
  PullMessagesRequestSchema,
  SendBusinessNotificationBatchRequestSchema,
  SendBusinessNotificationRequestSchema,
} from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { bind } from "../../src/json/bind.ts";
import { compileReadPlain } from "../../src/json/read-plain.ts";
import { fuzz } from "../helpers/fuzz.ts";

const plain: [DescMessage, JsonValue][] = [
  [
    SendBusinessNotificationRequestSchema,
    {
      sendUserID: "imAdmin",
      recvUserID: "ann",
      recvGroupID: "",
      key: "k",
      data: "{}",
      sendMsg: false,
      reliabilityLevel: 2,
      clientMsgID: "id",
    },
  ],
  [CreateGroupRequestSchema, { groupInfo: { groupID: "g", groupName: "Crew" }, memberUserIDs: ["ann", "bob"] }],
  [
    SendBusinessNotificationBatchRequestSchema,
    { notifications: [{ sendUserID: "imAdmin", recvUserID: "ann", key: "k", data: "d", sendAt: 1_679_558_586_210 }] },
  ],
];

test.each(plain)("an ordinary body of $typeName is read at once", (desc, json) => {
  const message = compileReadPlain(desc)(json);
  expect(message).toEqual(fromJson(desc, json));
});

/** What stands in the place of a value, right or wrong. */
const anyJson: fc.Arbitrary<JsonValue> = fc.oneof(
  { depthSize: "small" },
  fc.string(),
  fc.constantFrom<JsonValue>("", "\ud800", "7", "-0", 0, -0, 1, 1.5, 2 ** 31, -(2 ** 31), 2 ** 53, -(2 ** 63), 1e300),
  fc.boolean(),
  fc.constant(null),
  fc.array(fc.oneof(fc.string(), fc.integer(), fc.constant(null)), { maxLength: 3 }),
  fc.constantFrom<JsonValue>({}, { groupID: "g" }, { groupID: 1 }, [{ key: "k" }], [{ key: null }], [[]]),
);

function anyBody(desc: DescMessage): fc.Arbitrary<JsonValue> {
  const names = desc.fields.flatMap(({ jsonName, name }) => [jsonName, name, jsonName.toUpperCase()]);
  const keys = fc.constantFrom(...names, "unknown", "__proto__", "constructor");
  return fc.array(fc.tuple(keys, anyJson), { maxLength: 6 }).map((members) => Object.fromEntries(members));
}

describe("what is read at once is what protobuf makes of it", () => {
  test.each([
    SendBusinessNotificationRequestSchema,
    SendBusinessNotificationBatchRequestSchema,
    CreateGroupRequestSchema,
    PullMessagesRequestSchema,
  ])("in $typeName", (desc) => {
    const read = compileReadPlain(desc);
    let count = 0;
    fc.assert(
      fc.property(anyBody(desc), (json) => {
        const message = read(json);
        if (message === undefined) return;
        count++;
        expect(message).toEqual(fromJson(desc, json));
      }),
      fuzz(1_000),
    );
    expect(count).toBeGreaterThan(0);
  });
});

test("what is no object is left to protobuf", () => {
  for (const json of [null, [], "text", 1, true]) {
    expect(compileReadPlain(SendBusinessNotificationRequestSchema)(json)).toBeUndefined();
  }
});

test("a body of plain values is still refused for what it lacks", () => {
  expect(() => bind({ input: SendBusinessNotificationRequestSchema }, '{"sendUserID":""}')).toThrow("is required");
});
