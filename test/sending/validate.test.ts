import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { toErrorFacts, toProtoName } from "../../src/errors.ts";
import { BadRequestSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { AckScope } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { SendBusinessNotificationRequestSchema } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { maxOverheadBytes } from "../../src/limits.ts";
import { type SendLimits, validateSend } from "../../src/sending/validate.ts";

type Change = MessageInitShape<typeof SendBusinessNotificationRequestSchema>;

const limits = { maxDataBytes: 262_144, retentionMs: 7 * 86_400_000, maxPayloadBytes: () => 1_048_576 };
const weekSeconds = 7 * 86_400;

/** A request that can be sent, but for the change. */
const validate = (change: Change = {}, changed: Partial<SendLimits> = {}) =>
  validateSend(
    create(SendBusinessNotificationRequestSchema, {
      sendUserId: "imAdmin",
      recvUserId: "alice",
      key: "order.paid",
      data: "{}",
      ...change,
    }),
    { ...limits, ...changed },
  );

function refusalOf(change: Change): string {
  let thrown: unknown;
  try {
    validate(change);
  } catch (error) {
    thrown = error;
  }
  const { errCode, errMsg, errDlt } = toErrorFacts(thrown);
  expect({ errCode, errMsg }).toEqual({ errCode: 1001, errMsg: "ArgsError" });
  const [badRequest] = thrown instanceof ConnectError ? thrown.findDetails(BadRequestSchema) : [];
  const named = errDlt.match(/\w+/g)?.map(toProtoName);
  expect(named).toContain(badRequest?.fieldViolations[0]?.field);
  return errDlt;
}

test("the least that can be sent is an online push, for the whole retention, with an id of ours", () => {
  expect(validate()).toEqual({
    sendUserId: "imAdmin",
    recvUserId: "alice",
    recvGroupId: "",
    recvUserIds: [],
    key: "order.paid",
    data: "{}",
    sendMsg: false,
    mustReach: false,
    clientMsgId: "",
    ttlMs: 0,
    sendAtMs: 0,
    escalateAfterMs: undefined,
    report: false,
    isReported: false,
    isUserScoped: false,
    recvDeviceId: "",
    exceptDeviceId: "",
    collapseKey: "",
  });
});

test("everything that can be asked for", () => {
  const sendAt = Date.now() + 3_600_000;
  const change = {
    sendMsg: true,
    reliabilityLevel: 2,
    clientMsgId: "order-77",
    ttlSeconds: 60,
    sendAt: BigInt(sendAt),
    escalationDelaySeconds: 30,
    report: true,
  };
  expect(validate({ ...change, recvUserId: "", recvGroupId: "team" })).toEqual({
    sendUserId: "imAdmin",
    recvUserId: "",
    recvGroupId: "team",
    recvUserIds: [],
    key: "order.paid",
    data: "{}",
    sendMsg: true,
    mustReach: true,
    clientMsgId: "order-77",
    ttlMs: 60_000,
    sendAtMs: sendAt,
    escalateAfterMs: 30_000,
    report: true,
    isReported: true,
    isUserScoped: false,
    recvDeviceId: "",
    exceptDeviceId: "",
    collapseKey: "",
  });
});

describe("recipients", () => {
  test("neither is refused in OpenIM's words", () => {
    expect(refusalOf({ recvUserId: "" })).toBe("recvUserID and recvGroupID cannot be empty at the same time");
  });

  test("both are refused in OpenIM's words", () => {
    expect(refusalOf({ recvGroupId: "team" })).toBe("recvUserID and recvGroupID cannot be set at the same time");
  });

  test("a recipient of 300 characters, of wildcards, of dots, of spaces or of any script is one", () => {
    for (const id of ["x".repeat(300), "*", ">", "a.b", " ", "日本"]) {
      expect(validate({ recvUserId: id }).recvUserId).toBe(id);
      expect(validate({ recvUserId: "", recvGroupId: id }).recvGroupId).toBe(id);
    }
  });
});

describe("recvUserIDs", () => {
  const list = (recvUserIds: string[], change: Change = {}) => ({ recvUserId: "", recvUserIds, ...change });
  const ids = (count: number, bytes = 8) => Array.from({ length: count }, (_, i) => String(i).padStart(bytes, "u"));

  test("are taken each once, in the order of the ids", () => {
    expect(validate(list(["bob", "ann", "bob"])).recvUserIds).toEqual(["ann", "bob"]);
  });

  test("up to 1,000 different ones are taken", () => {
    expect(validate(list([...ids(1_000), ...ids(1_000)])).recvUserIds).toHaveLength(1_000);
    expect(refusalOf(list(ids(1_001)))).toContain("recvUserIDs must hold 1 to 1000, not 1001");
  });

  test("that add up to 262,144 bytes of UTF-8 are taken, with one more refused", () => {
    expect(validate(list(ids(256, 1_024))).recvUserIds).toHaveLength(256);
    expect(refusalOf(list([...ids(255, 1_024), "x".repeat(1_023), "yy"]))).toContain("262145");
  });

  test.each([
    ["recvUserID", { recvUserId: "ann" }],
    ["recvGroupID", { recvGroupId: "team" }],
    ["sendMsg", { sendMsg: true }],
  ])("are refused with %s", (field, change) => {
    expect(refusalOf(list(["ann"], change))).toContain(field);
  });

  test.each(["", "a\nb", "\ud83d", "x".repeat(1_025)])("with what is no id, %j, are refused", (id) => {
    expect(refusalOf(list(["ann", id]))).toContain("recvUserIDs");
  });

  test("leave less room for data in what the broker takes", () => {
    const smaller = { ...limits, maxPayloadBytes: () => 400_000 };
    const request = (dataBytes: number) =>
      create(SendBusinessNotificationRequestSchema, {
        ...{ sendUserId: "imAdmin", key: "k", recvUserIds: ids(256, 1_024), data: "x".repeat(dataBytes) },
      });
    const largest = 400_000 - maxOverheadBytes - 256 * 1_027;
    expect(validateSend(request(largest), smaller).data).toHaveLength(largest);
    expect(() => validateSend(request(largest + 1), smaller)).toThrow(`at most ${largest} are allowed`);
  });
});

describe.each([
  ["sendUserID", 1_024, (value: string): Change => ({ sendUserId: value })],
  ["recvUserID", 1_024, (value: string): Change => ({ recvUserId: value })],
  ["recvGroupID", 1_024, (value: string): Change => ({ recvUserId: "", recvGroupId: value })],
  ["key", 1_024, (value: string): Change => ({ key: value })],
  ["clientMsgID", 256, (value: string): Change => ({ clientMsgId: value, reliabilityLevel: 2 })],
])("%s", (field, maxBytes, change) => {
  test(`of ${maxBytes} bytes of UTF-8 is taken, of one more refused by name`, () => {
    expect(() => validate(change("x".repeat(maxBytes)))).not.toThrow();
    expect(() => validate(change("é".repeat(maxBytes / 2)))).not.toThrow();
    expect(refusalOf(change("x".repeat(maxBytes + 1)))).toContain(field);
    expect(refusalOf(change(`${"é".repeat(maxBytes / 2)}x`))).toContain(field);
  });

  test.each([
    ["a line break", "a\nb"],
    ["a NUL", "a\u0000"],
    ["DEL", "\u007f"],
    ["a C1 control", "\u0085"],
    ["a lone surrogate", "\ud83d"],
  ])("with %s is refused by name, without repeating it", (_, value) => {
    const errDlt = refusalOf(change(value));
    expect(errDlt).toContain(field);
    expect(errDlt).not.toContain(value);
  });
});

test.each([
  ["sendUserID", { sendUserId: "" }],
  ["key", { key: "" }],
])("an empty %s is refused", (field, change) => {
  expect(refusalOf(change)).toContain(field);
});

describe("data", () => {
  test("missing is refused, empty is taken", () => {
    expect(refusalOf({ data: undefined })).toBe("data is required");
    expect(validate({ data: "" }).data).toBe("");
  });

  test("may hold any character", () => {
    const data = `"quotes" \\ \u0000\u0001\n\u007f\u0085 😀 日本 \ufeff\u2028`;
    expect(validate({ data }).data).toBe(data);
  });

  test("may not hold what is no character", () => {
    expect(refusalOf({ data: "a\ud800b" })).toContain("data");
    expect(refusalOf({ data: "\udc00" })).toContain("data");
  });

  test("that a broker which was changed since would not take is refused at once", () => {
    const smaller = { ...limits, maxPayloadBytes: () => 100_000 };
    const request = (bytes: number) =>
      create(SendBusinessNotificationRequestSchema, {
        sendUserId: "imAdmin",
        recvUserId: "alice",
        key: "k",
        data: "x".repeat(bytes),
      });
    const largest = 100_000 - maxOverheadBytes;
    expect(validateSend(request(largest), smaller).data).toHaveLength(largest);
    expect(() => validateSend(request(largest + 1), smaller)).toThrow(`at most ${largest} are allowed`);
  });

  test.each([
    ["one byte", "x"],
    ["two bytes", "é"],
    ["four bytes", "😀"],
  ])("of 262,144 bytes of UTF-8 in characters of %s is taken, of one more refused", (_, character) => {
    const data = character.repeat(limits.maxDataBytes / Buffer.byteLength(character));
    expect(Buffer.byteLength(data)).toBe(262_144);
    expect(validate({ data }).data).toBe(data);
    const errDlt = refusalOf({ data: `${data}x` });
    expect(errDlt).toContain("data");
    expect(errDlt).toContain("262145");
    expect(errDlt).toContain("262144");
  });
});

describe("reliabilityLevel", () => {
  test.each([
    [undefined, false],
    [0, false],
    [1, false],
    [2, true],
  ])("%s: must-reach is %s", (reliabilityLevel, mustReach) => {
    expect(validate({ reliabilityLevel }).mustReach).toBe(mustReach);
  });

  test.each([-1, 3, 99, 2 ** 31 - 1, -(2 ** 31)])("%i is refused", (reliabilityLevel) => {
    expect(refusalOf({ reliabilityLevel })).toContain("reliabilityLevel");
  });
});

describe("ttlSeconds", () => {
  test.each([0, 1, weekSeconds])("%i is taken", (ttlSeconds) => {
    expect(validate({ reliabilityLevel: 2, ttlSeconds }).ttlMs).toBe(ttlSeconds * 1_000);
  });

  test.each([-1, weekSeconds + 1, 2 ** 31 - 1])("%i is refused: it must be within the retention", (ttlSeconds) => {
    const errDlt = refusalOf({ reliabilityLevel: 2, ttlSeconds });
    expect(errDlt).toContain("ttlSeconds");
    expect(errDlt).toContain(String(weekSeconds));
  });

  test("is refused for an online push, which is not stored", () => {
    expect(refusalOf({ reliabilityLevel: 1, ttlSeconds: 60 })).toContain("ttlSeconds");
    expect(refusalOf({ ttlSeconds: 60 })).toContain("ttlSeconds");
  });
});

describe("sendAt", () => {
  test("is taken as far ahead as the retention, and in the past, where it means now", () => {
    for (const sendAt of [0n, 1n, BigInt(Date.now() + limits.retentionMs - 60_000)]) {
      expect(validate({ reliabilityLevel: 2, sendAt }).sendAtMs).toBe(Number(sendAt));
    }
  });

  test("is refused later than that, and before the epoch", () => {
    for (const sendAt of [-1n, BigInt(Date.now() + limits.retentionMs + 60_000), 2n ** 63n - 1n]) {
      expect(refusalOf({ reliabilityLevel: 2, sendAt })).toContain("sendAt");
    }
  });

  test("is refused for an online push", () => {
    expect(refusalOf({ reliabilityLevel: 1, sendAt: 1n })).toContain("sendAt");
  });
});

describe("escalationDelaySeconds", () => {
  test("is taken up to a day", () => {
    for (const escalationDelaySeconds of [1, 86_400]) {
      expect(validate({ reliabilityLevel: 2, escalationDelaySeconds }).escalateAfterMs).toBe(
        escalationDelaySeconds * 1_000,
      );
    }
    for (const escalationDelaySeconds of [-1, 86_401]) {
      expect(refusalOf({ reliabilityLevel: 2, escalationDelaySeconds })).toContain("escalationDelaySeconds");
    }
  });

  test("is refused for an online push", () => {
    expect(refusalOf({ reliabilityLevel: 1, escalationDelaySeconds: 60 })).toContain("escalationDelaySeconds");
  });
});

describe("report", () => {
  const reported = (key: string, reportKeys: readonly string[], change: Change = {}) =>
    validate({ reliabilityLevel: 2, key, ...change }, { reportKeys });

  test("is refused for an online push, of which nothing is known", () => {
    expect(refusalOf({ report: true, reliabilityLevel: 1 })).toContain("report needs reliabilityLevel 2");
    expect(refusalOf({ report: true })).toContain("report");
  });

  test("is on for what asks for it, and for keys that begin as the settings say", () => {
    expect(reported("order.paid", [])).toMatchObject({ report: false, isReported: false });
    expect(reported("order.paid", ["pay", "order."])).toMatchObject({ report: false, isReported: true });
    expect(reported("order.paid", ["rder", "order.paid.", "Order"])).toMatchObject({ isReported: false });
    expect(reported("order.paid", ["*"])).toMatchObject({ report: false, isReported: true });
    expect(reported("order.paid", [], { report: true })).toMatchObject({ report: true, isReported: true });
  });

  test("is not of an online push, whatever its key", () => {
    expect(reported("order.paid", ["*"], { reliabilityLevel: 1 })).toMatchObject({ isReported: false });
  });
});

describe("devices", () => {
  test("are named as far as a device can be", () => {
    const deviceId = "😀".repeat(64);
    expect(validate({ recvDeviceId: deviceId })).toMatchObject({ recvDeviceId: deviceId, exceptDeviceId: "" });
    expect(validate({ exceptDeviceId: deviceId })).toMatchObject({ recvDeviceId: "", exceptDeviceId: deviceId });
  });

  test.each([
    ["of 257 bytes", { recvDeviceId: "a".repeat(257) }, "recvDeviceID"],
    ["with a control character", { exceptDeviceId: "a\u007f" }, "exceptDeviceID"],
    ["of a group", { recvUserId: "", recvGroupId: "crew", exceptDeviceId: "a" }, "exceptDeviceID needs recvUserID"],
    ["with a chat copy", { recvDeviceId: "a", sendMsg: true }, "recvDeviceID cannot be set with sendMsg"],
    ["both ways", { recvDeviceId: "a", exceptDeviceId: "b" }, "at the same time"],
  ])("%s are refused", (_, change, refusal) => {
    expect(refusalOf(change)).toContain(refusal);
  });
});

describe("ackScope", () => {
  test("is the device's, unless the user's is asked for", () => {
    const scope = (ackScope: AckScope) => validate({ reliabilityLevel: 2, ackScope }).isUserScoped;
    expect([AckScope.UNSPECIFIED, AckScope.DEVICE, AckScope.USER].map(scope)).toEqual([false, false, true]);
    expect(validate({ ackScope: AckScope.DEVICE }).isUserScoped).toBe(false);
  });

  test("is refused for what it is not, and the user's for an online push", () => {
    for (const ackScope of [-1, 3] as AckScope[])
      expect(refusalOf({ reliabilityLevel: 2, ackScope })).toContain("ackScope must be");
    expect(refusalOf({ ackScope: AckScope.USER })).toContain("ackScope USER needs reliabilityLevel 2");
  });
});
