import { create, createFileRegistry, type DescMessage, fromJson, type JsonObject, toJson } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  GetDeliveryStatusResponseSchema,
  SendBusinessNotificationBatchResponseSchema,
  SendBusinessNotificationResponseSchema,
} from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { compileToOpenImJson, errorEnvelope, successEnvelope } from "../../src/json/envelope.ts";
import { fuzz } from "../helpers/fuzz.ts";

const { INT32, INT64, UINT64, SINT64, FIXED64, SFIXED64, STRING, BOOL, MESSAGE } = FieldDescriptorProto_Type;

/**
 * A message with every kind of 64-bit integer, some of its neighbours, and itself in a list in a list:
 * `Shelf { repeated Box boxes }`, `Box { Item first; repeated Item items }`, `Item { … }`.
 */
function compileShelf(): DescMessage {
  let number = 0;
  const field = (name: string, type: FieldDescriptorProto_Type, typeName = "", repeated = false) => ({
    name,
    jsonName: name,
    number: ++number,
    type,
    typeName,
    label: repeated ? FieldDescriptorProto_Label.REPEATED : FieldDescriptorProto_Label.OPTIONAL,
  });
  const file = create(FileDescriptorProtoSchema, {
    name: "shelf.proto",
    package: "test",
    syntax: "proto3",
    messageType: [
      {
        name: "Item",
        field: [
          field("int64", INT64),
          field("uint64", UINT64),
          field("sint64", SINT64),
          field("fixed64", FIXED64),
          field("sfixed64", SFIXED64),
          field("times", INT64, "", true),
          field("int32", INT32),
          field("digits", STRING),
          field("names", STRING, "", true),
          field("isOn", BOOL),
        ],
      },
      { name: "Box", field: [field("first", MESSAGE, ".test.Item"), field("items", MESSAGE, ".test.Item", true)] },
      { name: "Shelf", field: [field("boxes", MESSAGE, ".test.Box", true)] },
    ],
  });
  const shelf = createFileRegistry(file, () => undefined).getMessage("test.Shelf");
  if (shelf === undefined) throw new Error("the message did not compile");
  return shelf;
}

const shelf = compileShelf();
/** What a message of these contents looks like over REST. */
const toRest = (desc: DescMessage, json: JsonObject) =>
  compileToOpenImJson(desc)(toJson(desc, fromJson(desc, json), { alwaysEmitImplicit: true }) as JsonObject);

describe("64-bit integers", () => {
  const item = {
    int64: -1_679_558_586_210,
    uint64: 1_679_558_586_210,
    sint64: -5,
    fixed64: 7,
    sfixed64: -8,
    times: [1, 2, 3],
    int32: 9,
    digits: "42",
    names: ["1", "2"],
    isOn: true,
  };
  const none = {
    int64: 0,
    uint64: 0,
    sint64: 0,
    fixed64: 0,
    sfixed64: 0,
    times: [],
    int32: 0,
    digits: "",
    names: [],
    isOn: false,
  };

  test("are numbers in a list of messages in a list of messages, and nothing else is changed", () => {
    const wanted = { boxes: [{ first: item, items: [item, none] }, { items: [] }] };
    expect(toRest(shelf, wanted)).toEqual(wanted);
  });

  test("that are zero are written", () => {
    expect(toRest(shelf, { boxes: [{ first: {}, items: [{}] }] })).toEqual({ boxes: [{ first: none, items: [none] }] });
  });

  test("are exact for every time and count there is", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        expect(toRest(shelf, { boxes: [{ items: [{ int64: value, times: [value] }] }] })).toMatchObject({
          boxes: [{ items: [{ int64: value, times: [value] }] }],
        });
      }),
      fuzz(100),
    );
  });
});

test("sendTime is a number", () => {
  const json = toRest(SendBusinessNotificationResponseSchema, { sendTime: "1679558586210" });
  expect(json).toMatchObject({ sendTime: 1_679_558_586_210 });
});

test("an enum's value is in lower case and without the enum's name, in a list of messages too", () => {
  const device = { deviceID: "phone", acknowledgedTime: 0 };
  const recipient = (state: string | number, deviceState: string | number) => ({
    userID: "ann",
    state,
    devices: [{ ...device, state: deviceState }],
  });
  const json = toRest(GetDeliveryStatusResponseSchema, {
    recipients: [recipient("DELIVERY_STATE_DELIVERED", "DELIVERY_STATE_PENDING"), recipient(99, 0)],
  });
  // A value from a later version is its number.
  expect(json.recipients).toEqual([recipient("delivered", "pending"), recipient(99, "unspecified")]);
});

test("a result of a batch has the documented fields: those of its error always, and three of what was accepted", () => {
  const accepted = { serverMsgID: "a", clientMsgID: "b", sendTime: 1_679_558_586_210 };
  const error = { errCode: 1001, errMsg: "ArgsError", errDlt: "key is required" };
  const json = toRest(SendBusinessNotificationBatchResponseSchema, {
    results: [{ data: { ...accepted, durability: "DURABILITY_FSYNCED" } }, error],
  });
  expect(json).toEqual({ results: [{ errCode: 0, errMsg: "", errDlt: "", data: accepted }, error] });
});

test("the envelope of a success has its four keys in the documented order", () => {
  expect(successEnvelope({ serverMsgID: "a", sendTime: 1 })).toBe(
    '{"errCode":0,"errMsg":"","errDlt":"","data":{"serverMsgID":"a","sendTime":1}}',
  );
});

test("an answer without fields has no data", () => {
  expect(successEnvelope()).toBe('{"errCode":0,"errMsg":"","errDlt":""}');
  expect(successEnvelope({})).toBe('{"errCode":0,"errMsg":"","errDlt":"","data":{}}');
});

test("the envelope of an error has three keys, whatever else the error knows", () => {
  const facts = { errCode: 1004, errMsg: "RecordNotFoundError", errDlt: 'no "group"', stack: "at …" };
  expect(errorEnvelope(facts)).toBe('{"errCode":1004,"errMsg":"RecordNotFoundError","errDlt":"no \\"group\\""}');
});
