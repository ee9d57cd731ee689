import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { MsgDataSchema, PushMessagesSchema } from "../../src/gen/mustreach/openim/v1/gateway_pb.ts";
import { toEventFrame } from "../../src/inbox/event-frame.ts";
import { readEvent } from "../../src/openim/read-event.ts";
import { encodeMessages, encodeProbe } from "../../src/openim/wire/messages.ts";
import { type EventInit, encodeEvent } from "../../src/receiving/events.ts";

const notification = {
  ...{ serverMsgId: "s", clientMsgId: "c", sendTime: 1_700_000_000_000n, sendUserId: "imAdmin", recvUserId: "alice" },
  ...{ key: "k", data: '"\u2028\0😀', reliabilityLevel: 2, sequence: 7n, epoch: "e" },
};

const decode = (message: Uint8Array) => fromBinary(MsgDataSchema, message);

describe("a notification", () => {
  test("of level 2 is a message with its number", () => {
    const event = readEvent(encodeEvent({ case: "notification", value: notification }));
    if (event.kind !== "stored" || event.item.message === undefined) throw new Error(`it is ${event.kind}`);
    expect(event.item).toMatchObject({ sequence: 7, epoch: "e" });
    const { content, ...rest } = decode(event.item.message);
    expect(rest).toMatchObject({
      ...{ sendId: "imAdmin", recvId: "alice", groupId: "", clientMsgId: "c", serverMsgId: "s", seq: 7_000n },
      ...{ sessionType: 1, msgFrom: 200, contentType: 2001, sendTime: notification.sendTime },
    });
    const { detail } = JSON.parse(Buffer.from(content).toString());
    expect(JSON.parse(detail)).toEqual({ key: "k", data: notification.data });
  });

  test("of level 1 to a group is one without", () => {
    const value = { ...notification, recvUserId: "", recvGroupId: "crew", sequence: 0n };
    const event = readEvent(encodeEvent({ case: "notification", value }));
    if (event.kind !== "online") throw new Error(`it is ${event.kind}`);
    expect(decode(event.message)).toMatchObject({ seq: 0n, sessionType: 3, groupId: "crew", recvId: "" });
  });

  test("is made a message once for all who get its frame", () => {
    const frame = toEventFrame("notification", toBinary(NotificationSchema, create(NotificationSchema, notification)));
    expect(readEvent(frame)).toBe(readEvent(frame));
  });
});

test.each<[event: EventInit, sequence: number]>([
  [{ case: "message", value: { notification } }, 7],
  [{ case: "recall", value: { sequence: 8n, epoch: "e" } }, 8],
  [{ case: "gap", value: { from: 1n, to: 9n, epoch: "e" } }, 9],
])("what SDKs have no callback for has its place: %o", (event, sequence) => {
  expect(readEvent(encodeEvent(event))).toEqual({ kind: "stored", item: { sequence, epoch: "e", message: undefined } });
});

test.each<[EventInit]>([
  [{ case: "ready", value: {} }],
  [{ case: "heartbeat", value: {} }],
  [{ case: "reconnect", value: {} }],
])("what is no item is nothing", (event) => {
  expect(readEvent(encodeEvent(event))).toEqual({ kind: "nothing" });
});

test("messages that are put together by hand are a push", () => {
  const messages = [encodeProbe(1), encodeProbe(2)];
  expect(fromBinary(PushMessagesSchema, encodeMessages("n_x", messages))).toEqual(
    create(PushMessagesSchema, { notificationMsgs: { n_x: { msgs: messages.map(decode) } } }),
  );
});
