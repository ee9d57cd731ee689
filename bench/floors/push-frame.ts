import { create, toBinary } from "@bufbuild/protobuf";
import { SubscribeResponseSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";

/** The size of every notification's data, in bytes. */
export const payloadBytes = 150;

const event = create(SubscribeResponseSchema, {
  event: {
    case: "notification",
    value: {
      serverMsgId: "8698dd5d163dd79b8fdfa333fee06f40",
      clientMsgId: "1ca0e4cf279ad5cce6b28331b2b42092",
      sendTime: 1679558586210n,
      sendUserId: "imAdmin",
      recvGroupId: "crew",
      key: "order.paid",
      data: "x".repeat(payloadBytes),
      reliabilityLevel: 1,
    },
  },
});

/** An online push as it is on the wire: the head of a DATA frame (9 bytes), gRPC's prefix (5), the event. */
export const pushFrame = Buffer.concat([Buffer.alloc(9 + 5), toBinary(SubscribeResponseSchema, event)]);
