import { describe, expect, test } from "vitest";
import { CreateGroupRequestSchema } from "../../src/gen/mustreach/directory/v1/directory_pb.ts";
import {
  SendBusinessNotificationBatchRequestSchema,
  SendBusinessNotificationRequestSchema,
} from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { matchFieldNames } from "../../src/json/field-names.ts";

function match(body: string, desc: Parameters<typeof matchFieldNames>[0] = SendBusinessNotificationRequestSchema) {
  const unknown = new Set<string>();
  return { json: matchFieldNames(desc, JSON.parse(body), unknown), unknown: [...unknown] };
}

describe("a key is the name that it equals without regard to case, as in Go:", () => {
  test.each([
    ["PascalCase", '{"ReliabilityLevel":2}', { reliabilityLevel: 2 }],
    ["lower case", '{"reliabilitylevel":2}', { reliabilityLevel: 2 }],
    ["upper case", '{"SENDUSERID":"a","KEY":"k"}', { sendUserID: "a", key: "k" }],
    ["Id for ID", '{"recvUserId":"alice"}', { recvUserID: "alice" }],
    // What Go's folding makes of them (encoding/json, foldName): U+017F and U+212A.
    ["a long s", '{"\u017fendU\u017ferID":"a"}', { sendUserID: "a" }],
    ["the Kelvin sign", '{"\u212aey":"k"}', { key: "k" }],
    ["the last one counts", '{"reliabilityLevel":1,"ReliabilityLevel":2}', { reliabilityLevel: 2 }],
    ["the last one counts, exact or not", '{"ReliabilityLevel":2,"reliabilityLevel":1}', { reliabilityLevel: 1 }],
    ["null changes nothing", '{"ReliabilityLevel":2,"reliabilityLevel":null}', { reliabilityLevel: 2 }],
    ["null alone is null", '{"ReliabilityLevel":null}', { reliabilityLevel: null }],
  ])("%s", (_, body, json) => {
    expect(match(body)).toEqual({ json, unknown: [] });
  });

  test.each([
    ["an underscore is no case", '{"RECV_USER_ID":"alice"}', "RECV_USER_ID"],
    ["a letter too many", '{"reliabilityLevels":2}', "reliabilityLevels"],
    ["a letter that only looks like it", '{"r\u0435liabilityLevel":2}', "r?liabilityLevel"],
    ["the dotted capital I", '{"rel\u0130abilityLevel":2}', "rel?abilityLevel"],
    ["a prototype", '{"__proto__":{"reliabilityLevel":2}}', "__proto__"],
    ["a constructor", '{"constructor":2}', "constructor"],
  ])("not: %s", (_, body, unknown) => {
    expect(match(body)).toEqual({ json: {}, unknown: [unknown] });
  });

  test("at every depth", () => {
    const { json, unknown } = match(
      '{"Notifications":[{"SendUserID":"a","ReliabilityLevel":2,"x":1},7,{"key":"k"}]}',
      SendBusinessNotificationBatchRequestSchema,
    );
    expect(json).toEqual({ notifications: [{ sendUserID: "a", reliabilityLevel: 2 }, 7, { key: "k" }] });
    expect(unknown).toEqual(["notifications.x"]);
    expect(match('{"GROUPINFO":{"groupid":"g"}}', CreateGroupRequestSchema).json).toEqual({
      groupInfo: { groupID: "g" },
    });
  });
});

test("a body with exact names is not copied", () => {
  const json = { sendUserID: "a", key: "k", recv_group_id: "g" };
  expect(matchFieldNames(SendBusinessNotificationRequestSchema, json, new Set())).toBe(json);
});

test("what is told of unknown keys is bounded, and printable", () => {
  const keys = Array.from({ length: 1_000 }, (_, index) => [`k${index}\r\n,é${"x".repeat(100)}`, 1]);
  const { unknown } = match(JSON.stringify(Object.fromEntries(keys)));
  expect(unknown).toHaveLength(10);
  expect(unknown[0]).toBe(`k0????${"x".repeat(58)}`);
});

test("a text is no number, at any depth", () => {
  expect(() => match('{"ReliabilityLevel":"2"}')).toThrow("reliabilityLevel must be a number");
  const batch = '{"notifications":[{"reliabilityLevel":"2"}]}';
  expect(() => match(batch, SendBusinessNotificationBatchRequestSchema)).toThrow(
    "notifications.reliabilityLevel must be a number",
  );
});
