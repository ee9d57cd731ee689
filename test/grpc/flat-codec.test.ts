import { create, type DescMessage, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AuthService } from "../../src/gen/mustreach/auth/v1/auth_pb.ts";
import { AckRequestSchema, DeliveryService } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { GroupService } from "../../src/gen/mustreach/directory/v1/directory_pb.ts";
import {
  Durability,
  MsgService,
  SendBusinessNotificationRequestSchema,
  SendBusinessNotificationResponseSchema,
} from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { compileFlatCodec } from "../../src/grpc/flat-codec.ts";
import { toFrame } from "../../src/grpc/frame.ts";
import { fuzz } from "../helpers/fuzz.ts";

const types = [AuthService, DeliveryService, GroupService, MsgService]
  .flatMap(({ methods }) => methods.flatMap(({ input, output }): DescMessage[] => [input, output]))
  .filter((type, index, all) => all.indexOf(type) === index);

const text = fc.oneof(
  fc.string({ unit: "binary-ascii", maxLength: 200 }),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.constantFrom("", "x".repeat(127), "x".repeat(128), "x".repeat(5_000)),
);
const int32 = fc.oneof(fc.integer(), fc.constantFrom(0, 1, 127, 128, 2 ** 28 - 1, 2 ** 28, 2 ** 31 - 1, -1));
const int64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.constantFrom(
    0n,
    1n,
    1_679_558_586_210n,
    2n ** 49n - 1n,
    2n ** 49n,
    2n ** 53n - 1n,
    2n ** 53n,
    2n ** 63n - 1n,
    -1n,
  ),
);

const request = fc
  .record(
    {
      ...{ sendUserId: text, recvUserId: text, key: text, data: text, clientMsgId: text, recvGroupId: text },
      ...{ sendMsg: fc.boolean(), reliabilityLevel: int32, ttlSeconds: int32, sendAt: int64 },
    },
    { requiredKeys: [] },
  )
  .map((init) => create(SendBusinessNotificationRequestSchema, init));
const response = fc
  .record({ serverMsgId: text, clientMsgId: text, sendTime: int64, durability: fc.integer({ min: -1, max: 300 }) })
  .map((init) => create(SendBusinessNotificationResponseSchema, init as { durability: Durability }));

/** What is read and written is the same as by protobuf's own code, or is left to it. */
function expectSame(desc: DescMessage, message: Message): void {
  const codec = compileFlatCodec(desc);
  const bytes = toBinary(desc, message);
  const frame = codec.write(message);
  if (frame !== undefined) expect(Buffer.from(frame).equals(Buffer.from(toFrame(bytes)))).toBe(true);
  const read = codec.read(bytes);
  if (read !== undefined) expect(read).toStrictEqual(fromBinary(desc, bytes));
}

test("messages of any values are what protobuf's own code makes of them", () => {
  fc.assert(
    fc.property(request, (message) => expectSame(SendBusinessNotificationRequestSchema, message)),
    fuzz(100),
  );
  fc.assert(
    fc.property(response, (message) => expectSame(SendBusinessNotificationResponseSchema, message)),
    fuzz(100),
  );
});

test("any bytes are read as protobuf's own code reads them, or left to it", () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 12 }),
    fc.constantFrom(
      ...[
        [0x0a, 1, 0x61],
        [0x30, 2],
        [0x30, 0x80, 1],
        [0x38, 0x80, 0x80, 0x80, 0x80, 0x10],
        [0x50, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        [0x0b, 0x0c],
        [0x0a, 0x81, 0],
        [0x00, 0x00],
        [0x32, 1, 1],
      ].map((bytes) => Uint8Array.from(bytes)),
    ),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 4 }), fc.constantFrom(...types), (pieces, desc) => {
      const bytes = Buffer.concat(pieces);
      const read = compileFlatCodec(desc).read(bytes);
      if (read !== undefined) expect(read).toStrictEqual(fromBinary(desc, bytes));
    }),
    fuzz(3_000),
  );
});

test("every type of the services begins as protobuf's own code has it", () => {
  for (const desc of types) expectSame(desc, create(desc));
});

describe("a send and its answer", () => {
  const send = create(SendBusinessNotificationRequestSchema, {
    ...{ sendUserId: "imAdmin", recvUserId: "2839678182", key: "order.paid", data: '{"id":77}', reliabilityLevel: 1 },
  });
  const answer = create(SendBusinessNotificationResponseSchema, {
    ...{ serverMsgId: "8698dd5d163dd79b8fdfa333fee06f40", clientMsgId: "own", sendTime: 1_679_558_586_210n },
    durability: Durability.FSYNCED,
  });

  test("are plain, and an acknowledgement too", () => {
    const ack = create(AckRequestSchema, { deviceId: "phone", sequence: 7n });
    for (const [desc, message] of [
      [SendBusinessNotificationRequestSchema, send],
      [SendBusinessNotificationResponseSchema, answer],
      [AckRequestSchema, ack],
    ] as const) {
      const codec = compileFlatCodec(desc);
      expect(codec.read(toBinary(desc, message))).toStrictEqual(message);
      expect(codec.write(message)).toBeDefined();
    }
  });

  test("keep nothing of the bytes, nor of the message before", () => {
    const codec = compileFlatCodec(SendBusinessNotificationRequestSchema);
    const bytes = toBinary(SendBusinessNotificationRequestSchema, send);
    const read = codec.read(bytes);
    bytes.fill(0x7a);
    expect(read).toStrictEqual(send);
    const { write } = compileFlatCodec(SendBusinessNotificationResponseSchema);
    const first = write(answer);
    const copy = Buffer.from(first ?? []);
    write(create(SendBusinessNotificationResponseSchema, { serverMsgId: "another" }));
    expect(copy.equals(Buffer.from(first ?? []))).toBe(true);
  });

  test("that are large or not ASCII are left to protobuf's own code", () => {
    const { write } = compileFlatCodec(SendBusinessNotificationResponseSchema);
    expect(write(create(SendBusinessNotificationResponseSchema, { serverMsgId: "x".repeat(4_096) }))).toBeUndefined();
    expect(write(create(SendBusinessNotificationResponseSchema, { serverMsgId: "é" }))).toBeUndefined();
  });
});
