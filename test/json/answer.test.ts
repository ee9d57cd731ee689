import {
  create,
  type DescField,
  type DescMessage,
  type JsonObject,
  type Message,
  ScalarType,
  toJson,
} from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { expect, test } from "vitest";
import { AuthService } from "../../src/gen/mustreach/auth/v1/auth_pb.ts";
import { DeliveryService } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { GroupService } from "../../src/gen/mustreach/directory/v1/directory_pb.ts";
import {
  Durability,
  MsgService,
  SendBusinessNotificationResponseSchema,
} from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { PullMsgBySeqResponseSchema } from "../../src/gen/mustreach/openim/v1/openim_pb.ts";
import { compileAnswer } from "../../src/json/answer.ts";
import { compileToOpenImJson } from "../../src/json/envelope.ts";
import { fuzz } from "../helpers/fuzz.ts";

const outputs = [AuthService, DeliveryService, GroupService, MsgService].flatMap(({ methods }) =>
  methods.filter(({ methodKind }) => methodKind === "unary").map(({ output }) => output),
);

/** Any message of a type. */
function anyMessage(desc: DescMessage): fc.Arbitrary<Message> {
  const members = Object.fromEntries(desc.fields.map((field) => [field.localName, anyField(field)]));
  return fc.record(members, { requiredKeys: [] }).map((init) => create(desc, init as never));
}

function anyField(field: DescField): fc.Arbitrary<unknown> {
  const value = anyValue(field);
  if (field.fieldKind === "map") return fc.dictionary(fc.string(), value, { maxKeys: 3 });
  return field.fieldKind === "list" ? fc.array(value, { maxLength: 3 }) : value;
}

function anyValue({ message, enum: desc, scalar }: DescField): fc.Arbitrary<unknown> {
  if (message !== undefined) return anyMessage(message);
  // Also a value that this version does not know.
  if (desc !== undefined) return fc.constantFrom(...desc.values.map(({ number }) => number), 99);
  if (scalar === ScalarType.STRING) return fc.string();
  if (scalar === ScalarType.BOOL) return fc.boolean();
  if (scalar === ScalarType.INT32) return fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  if (scalar === ScalarType.INT64) return fc.maxSafeInteger().map(BigInt);
  if (scalar === ScalarType.UINT64) return fc.maxSafeNat().map(BigInt);
  throw new Error(`no value for ${scalar}`);
}

test.each(outputs)("$typeName is written as protobuf's JSON says, in that order", (desc) => {
  const toAnswer = compileAnswer(desc);
  const toOpenImJson = compileToOpenImJson(desc);
  fc.assert(
    fc.property(anyMessage(desc), (message) => {
      const json = toOpenImJson(toJson(desc, message, { alwaysEmitImplicit: true }) as JsonObject);
      // A message that has no fields has no data.
      const wanted = desc.fields.length === 0 ? undefined : json;
      expect(JSON.stringify(toAnswer(message).data)).toBe(JSON.stringify(wanted));
    }),
    fuzz(100),
  );
});

test("the durability of a write is a header field", () => {
  const toAnswer = compileAnswer(SendBusinessNotificationResponseSchema);
  const message = create(SendBusinessNotificationResponseSchema, { durability: Durability.FSYNCED });
  expect(toAnswer(message).fields).toEqual(["mustreach-durability", "FSYNCED"]);
});

test("bytes are base64, and a map is an object, which is left out when it is empty", () => {
  const toAnswer = compileAnswer(PullMsgBySeqResponseSchema);
  const message = create(PullMsgBySeqResponseSchema, {
    msgs: { si_a_b: { msgs: [{ content: Buffer.from("ÿ~"), seq: 7n, options: { history: true } }], endSeq: 7n } },
  });
  const [copy] = (toAnswer(message).data as never as { msgs: { si_a_b: { Msgs: object[] } } }).msgs.si_a_b.Msgs;
  expect(toAnswer(message).data).toEqual({ msgs: { si_a_b: { Msgs: [copy], isEnd: false, endSeq: 7 } } });
  expect(copy).toMatchObject({ content: "w79+", seq: 7, options: { history: true }, atUserIDList: [] });
  expect(toAnswer(create(PullMsgBySeqResponseSchema)).data).toEqual({});
});

test("a message of another kind is written as well", () => {
  const message = create(DurationSchema, { seconds: 3n });
  expect(compileAnswer(DurationSchema)(message).data).toBe("3s");
});
