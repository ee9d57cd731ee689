import { create, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { readEvent } from "../../../src/client/web/event-json.ts";
import { Gap_Reason, SubscribeResponseSchema } from "../../../src/gen/mustreach/delivery/v1/delivery_pb.ts";

type Event = NonNullable<MessageInitShape<typeof SubscribeResponseSchema>["event"]>;

/** More than a number of JavaScript holds exactly. */
const large = 2n ** 64n - 1n;

const notification = {
  serverMsgId: "s",
  clientMsgId: "c",
  sendTime: 1_700_000_000_123n,
  sendUserId: "imAdmin",
  recvUserId: "alice",
  recvGroupId: "g",
  key: "order.paid",
  data: '{"a":"ä\\u0000"}',
  reliabilityLevel: 2,
  sequence: large,
  epoch: "e",
};

/** Without what protobuf's runtime adds. */
function plain(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).filter(([name]) => !name.startsWith("$"));
  return Object.fromEntries(fields.map(([name, field]) => [name, plain(field)]));
}

const gaps = [
  Gap_Reason.UNSPECIFIED,
  Gap_Reason.RETENTION,
  Gap_Reason.EXPIRED,
  Gap_Reason.RECALLED,
  Gap_Reason.STORE_CHANGED,
].map((reason): Event => ({ case: "gap", value: { from: 1n, to: large, reason, epoch: "e" } }));

const events: Event[] = [
  { case: "ready", value: { resumeSequence: large, pending: 3n, deviceId: "phone", epoch: "e" } },
  { case: "ready", value: {} },
  { case: "notification", value: notification },
  { case: "notification", value: {} },
  { case: "message", value: { conversationId: "si_a_b", conversationSequence: large, notification } },
  { case: "message", value: {} },
  { case: "heartbeat", value: { latestSequence: large, droppedOnlinePushes: 2n, brokerAway: true } },
  { case: "heartbeat", value: {} },
  { case: "recall", value: { serverMsgId: "s", clientMsgId: "c", sequence: large, epoch: "e" } },
  { case: "recall", value: {} },
  ...gaps,
];

test.each(events.map((event) => [event.case, event] as const))(
  "%s is read as protobuf's runtime reads it",
  (_, event) => {
    const message = create(SubscribeResponseSchema, { event });
    const text = JSON.stringify(toJson(SubscribeResponseSchema, message));
    expect(readEvent(JSON.parse(text)).event).toEqual(plain(message.event));
  },
);

test("of reconnect it is the time that counts", () => {
  const event = { case: "reconnect", value: { afterMs: 700, reason: "restart" } } as const;
  const json = toJson(SubscribeResponseSchema, create(SubscribeResponseSchema, { event }));
  expect(readEvent(json).event).toEqual({ case: "reconnect", value: { afterMs: 700 } });
});

test.each([{ pong: {} }, { later: { a: 1 } }, {}, null, 7, "text"])("%j is a sign of life", (json) => {
  expect(readEvent(json).event.case).toBeUndefined();
});

test("what is no number is refused", () => {
  expect(() => readEvent({ notification: { sequence: "one" } })).toThrow(SyntaxError);
});
