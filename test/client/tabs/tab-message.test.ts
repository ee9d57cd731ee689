import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { fromConnectError } from "../../../src/client/connect/error.ts";
import { MustreachClientError } from "../../../src/client/index.ts";
import { isStoreChange, packError, unpackError } from "../../../src/client/tabs/tab-message.ts";
import { placeOf } from "../../../src/client/wire/cursor.ts";
import type { Received } from "../../../src/client/wire/event.ts";
import { failure } from "../../../src/errors.ts";
import { Gap_Reason, SubscribeResponseSchema } from "../../../src/gen/mustreach/delivery/v1/delivery_pb.ts";

type Event = NonNullable<MessageInitShape<typeof SubscribeResponseSchema>["event"]>;

test.each<[sequence: bigint, event: Event]>([
  [7n, { case: "notification", value: { sequence: 7n, data: "{}" } }],
  [0n, { case: "notification", value: { data: "pushed" } }],
  [8n, { case: "message", value: { conversationId: "si_a_b", notification: { sequence: 8n } } }],
  [9n, { case: "recall", value: { sequence: 9n } }],
  [11n, { case: "gap", value: { from: 10n, to: 11n } }],
  [0n, { case: "heartbeat", value: { latestSequence: 12n } }],
  [0n, { case: "ready", value: { resumeSequence: 6n } }],
])("an event at %d travels whole", (sequence, event) => {
  const message = create(SubscribeResponseSchema, { event });
  expect(placeOf(message).sequence).toBe(sequence);
  expect(structuredClone<Received>(message)).toEqual(message);
  expect(isStoreChange(message)).toBe(false);
});

test.each([
  ["that may be tried again", failure("ServerStoppingError", "stopping", undefined, { retryAfterMs: 700 }), 700],
  ["that may not", failure("TokenKickedError", "logged out"), undefined],
])("an error %s stays what it is", (_, thrown, retryAfterMs) => {
  const packed = packError(fromConnectError(thrown));
  const error = unpackError(structuredClone(packed));
  expect(error).toBeInstanceOf(MustreachClientError);
  expect(error.message).toContain(thrown.rawMessage.split(": ")[1]);
  expect(error).toMatchObject({ errMsg: packed.errMsg, errCode: packed.errCode, retryAfterMs });
});

test("a gap of a store that was replaced is told from others", () => {
  const event = { case: "gap", value: { from: 1n, to: 1n, reason: Gap_Reason.STORE_CHANGED } } as const;
  expect(isStoreChange(create(SubscribeResponseSchema, { event }))).toBe(true);
});
