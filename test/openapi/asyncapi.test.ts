import { createRequire } from "node:module";
import { create, toJson } from "@bufbuild/protobuf";
import { Ajv } from "ajv";
import { expect, test } from "vitest";
import { NotificationSchema, SubscribeResponseSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { toAsyncApi } from "../../src/openapi/asyncapi.ts";
import { toWebhookBody } from "../../src/reaching/webhook-body.ts";
import { schemasOf } from "../helpers/schemas.ts";

const document = toAsyncApi("https://mustreach.example:8443");
const compare = schemasOf(document);
const { channels } = document;

test("it is an AsyncAPI 3 document, by its own schema", () => {
  const schema = createRequire(import.meta.url)("@asyncapi/specs/schemas/3.0.0-without-$id.json");
  const validate = new Ajv({ strict: false, validateFormats: false }).compile(schema);
  validate(JSON.parse(JSON.stringify(document)));
  expect(validate.errors).toBeNull();
});

test("each reference leads to something", () => {
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path = ""]) => path);
  expect(references.length).toBeGreaterThan(20);
  for (const reference of new Set(references)) {
    const found = reference.split("/").reduce<unknown>((at, name) => Reflect.get(Object(at), name), document);
    expect(found, reference).toBeDefined();
  }
});

test("it says where the service answers, and each event of the contract is in it", () => {
  expect(document.servers.http).toMatchObject({ host: "mustreach.example:8443", protocol: "https" });
  expect(document.servers.webSocket).toMatchObject({ host: "mustreach.example:8443", protocol: "wss" });
  const events = SubscribeResponseSchema.fields.map(({ jsonName }) => jsonName);
  expect(Object.keys(channels.events.messages)).toEqual([...events, "end"]);
});

test("an event has the form that it says, over both ways", () => {
  const notification = create(NotificationSchema, {
    ...{ serverMsgId: "a", clientMsgId: "b", sendTime: 1n, sendUserId: "c", recvUserId: "d", key: "k", data: "{}" },
    ...{ reliabilityLevel: 2, sequence: 7n, epoch: "e" },
  });
  const event = create(SubscribeResponseSchema, { event: { case: "notification", value: notification } });
  const json = toJson(SubscribeResponseSchema, event);
  expect(compare(channels.socket.messages.event.payload, json)).toEqual([]);
  expect(compare(channels.socket.messages.event.payload, {})).not.toEqual([]);
  const payload = { $ref: "#/components/schemas/delivery.v1.Notification" };
  expect(compare(payload, toJson(NotificationSchema, notification))).toEqual([]);
  expect(compare(payload, { sequence: 7 })).not.toEqual([]);
});

test("what a device says has it too", () => {
  const { payload } = channels.socket.messages.request;
  expect(compare(payload, { subscribe: { deviceId: "phone", window: 10 }, token: "t" })).toEqual([]);
  expect(compare(payload, { acknowledge: { sequence: "7", epoch: "e" } })).toEqual([]);
  expect(compare(payload, { subscribe: { window: 1_001 } })).not.toEqual([]);
});

test("the webhook of reports gets nothing else than it says", () => {
  const { payload = {} } = channels.reportWebhook.messages.reports as { payload?: object };
  const ids = { serverMsgID: "a", clientMsgID: "b", userID: "alice", key: "k" };
  const event = { sequence: 7, state: "delivered", ...ids, deviceID: "phone", sendTime: 1, time: 2 };
  expect(compare(payload, { events: [event], gap: { from: 1, to: 6 } })).toEqual([]);
  expect(compare(payload, { events: [{ ...event, state: "DELIVERED" }] })).not.toEqual([]);
  expect(compare(payload, { events: [{ ...event, userID: undefined }] })).not.toEqual([]);
  expect(compare(payload, { events: Array(101).fill(event) })).not.toEqual([]);
});

test("the webhook gets what it says", () => {
  const notification = create(NotificationSchema, { key: "k", data: "d", sequence: 7n, reliabilityLevel: 2 });
  const body = toWebhookBody({ id: "a", attempt: 1, userId: "alice", sequence: 7, notification } as never);
  const { payload } = channels.webhook.messages.escalation as { payload?: object };
  expect(compare(payload ?? {}, body)).toEqual([]);
  expect(compare(payload ?? {}, { ...body, attempt: 0 })).not.toEqual([]);
});
