import {
  NotificationSchema,
  ReceiveRequestSchema,
  SubscribeRequestSchema,
  SubscribeResponseSchema,
} from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { ReportGapSchema, ReportSchema } from "../gen/mustreach/msg/v1/report_pb.ts";
import { maxReports } from "../reporting/webhook.ts";
import { version } from "../version.ts";
import { commentOf } from "./comments.ts";
import { errorSchema } from "./errors.ts";
import type { JsonSchema, JsonSchemas } from "./json-schema.ts";
import { limitsOf } from "./limits.ts";
import { createSchemas } from "./schema.ts";

const json = "application/json";
const retryAfterMs: JsonSchema = { type: "integer", minimum: 0, description: "Trying again after this may help." };
const streamError: JsonSchema = {
  ...errorSchema,
  description: "Why a stream has ended otherwise than as planned.",
  properties: { ...errorSchema.properties, retryAfterMs },
};

const ticket: JsonSchema = {
  type: "string",
  description: "In place of a token: of `POST /events/ticket`, good once, for 30 s.",
};

/** What is asked for in the query of a stream, and not in its messages. */
const subscribeQuery: JsonSchema = {
  type: "object",
  properties: {
    deviceID: {
      type: "string",
      description: "The device's own stable name; each has its own cursor. Default: of the token's platform.",
      ...limitsOf(SubscribeRequestSchema.field.deviceId),
    },
    start: { type: "string", enum: ["resume", "new", "all"], description: "Where to begin. Default: `resume`." },
    window: {
      type: "integer",
      description: "How many must-reach notifications may be unacknowledged. Default (0): 64.",
      ...limitsOf(SubscribeRequestSchema.field.window),
    },
    afterSequence: { type: "integer", minimum: 0, description: "Up to where the device has handled everything." },
    epoch: { type: "string", description: "The epoch of `afterSequence`." },
    lastEventID: { type: "string", description: "The id of an event instead, as the header `Last-Event-ID`." },
    ticket,
  },
};

/**
 * The AsyncAPI 3 document of what the service tells by itself: the events of devices, and the webhooks.
 *
 * @param apiUrl where the API answers; absent: at a place that is not known yet.
 */
export function toAsyncApi(apiUrl = "http://127.0.0.1:10002") {
  const schemas: JsonSchemas = { Error: streamError };
  const events = createSchemas(schemas, "event");
  const { host, protocol } = new URL(apiUrl);
  const isSecure = protocol === "https:";
  const message = (name: string, summary: string, payload: JsonSchema) => ({
    name,
    summary,
    contentType: json,
    payload,
  });
  const eventMessages = Object.fromEntries(
    SubscribeResponseSchema.fields.flatMap((field) => {
      const desc = field.message;
      return desc === undefined
        ? []
        : [[field.jsonName, message(field.jsonName, commentOf(field), events.reference(desc))]];
    }),
  );
  const refTo = (channel: string, ...names: string[]) =>
    names.map((name) => ({ $ref: `#/channels/${channel}/messages/${name}` }));
  const channel = (name: string) => ({ $ref: `#/channels/${name}` });
  const error = { $ref: "#/components/schemas/Error" };

  return {
    asyncapi: "3.0.0",
    info: {
      title: "Mustreach events",
      version,
      description:
        "What devices and webhooks are told. The same events come over gRPC and Connect, by `DeliveryService.Subscribe` and `Receive`. 64-bit integers are strings in events, and what is zero is left out.",
      license: { name: "Apache-2.0" },
    },
    defaultContentType: json,
    servers: {
      http: { host, protocol: isSecure ? "https" : "http", security: security() },
      webSocket: { host, protocol: isSecure ? "wss" : "ws", security: security() },
    },
    channels: {
      events: {
        address: "/events",
        title: "Server-sent events",
        description:
          "`GET`. The name of each is in its `event`, its content in its `data`, and what it moves the device to in its `id`. What is handled is acknowledged by `POST /ack`.",
        servers: [{ $ref: "#/servers/http" }],
        messages: { ...eventMessages, end: message("end", "The stream ends, and why.", error) },
      },
      socket: {
        address: "/ws",
        title: "WebSocket",
        description: "With the sub-protocol `mustreach.v1.json`: a JSON object each message, both ways.",
        servers: [{ $ref: "#/servers/webSocket" }],
        messages: {
          event: message("event", "An event of the session.", events.reference(SubscribeResponseSchema)),
          error: message("error", "The session ends, and why.", {
            type: "object",
            properties: { error },
            required: ["error"],
          }),
          pong: message("pong", "The answer to a ping.", only("pong")),
          request: message("request", "What the device says.", toSocketRequest(events.inline(ReceiveRequestSchema))),
          ping: message("ping", "Asks for a pong.", only("ping")),
        },
        bindings: { ws: { method: "GET", query: { type: "object", properties: { ticket } } } },
      },
      webhook: {
        address: null,
        title: "Webhook",
        description:
          "`POST` to `MUSTREACH_ESCALATION_URL`, signed as by Standard Webhooks. Any 2xx takes it, 410 refuses it for good.",
        messages: { escalation: toEscalation(message) },
      },
      reportWebhook: {
        address: null,
        title: "Webhook of reports",
        description:
          "`POST` to `MUSTREACH_REPORT_WEBHOOK_URL`, signed as by Standard Webhooks. Any 2xx takes it; what is not taken is posted again, and the next ones wait for it.",
        messages: { reports: toReports(message) },
      },
    },
    operations: {
      sendEvents: {
        action: "send",
        channel: channel("events"),
        summary: "A device gets its events.",
        messages: refTo("events", ...Object.keys(eventMessages), "end"),
        bindings: { http: { method: "GET", query: subscribeQuery } },
      },
      sendSocketEvents: {
        action: "send",
        channel: channel("socket"),
        summary: "A device gets its events.",
        messages: refTo("socket", "event", "error", "pong"),
      },
      receiveSocketRequests: {
        action: "receive",
        channel: channel("socket"),
        summary: "A device subscribes, acknowledges, changes its window, and pauses.",
        messages: refTo("socket", "request", "ping"),
      },
      escalate: {
        action: "send",
        channel: channel("webhook"),
        summary: "The app is handed what no device has acknowledged in time.",
        messages: refTo("webhook", "escalation"),
        bindings: { http: { method: "POST" } },
      },
      report: {
        action: "send",
        channel: channel("reportWebhook"),
        summary: "The back end is told what has become of its notifications.",
        messages: refTo("reportWebhook", "reports"),
        bindings: { http: { method: "POST" } },
      },
    },
    components: { schemas },
  };
}

function security() {
  return [
    { type: "httpApiKey", in: "header", name: "token", description: "A user's token: OpenIM's header." },
    { type: "http", scheme: "bearer", description: "The same token." },
  ];
}

function only(name: string): JsonSchema {
  return { type: "object", properties: { [name]: { type: "object" } }, required: [name] };
}

/** A request, with the token beside it. */
function toSocketRequest(request: JsonSchema): JsonSchema {
  const token: JsonSchema = { type: "string", description: "With `subscribe`, in place of a header or a ticket." };
  return { ...request, properties: { ...request.properties, token }, maxProperties: 2 };
}

/** What the webhook is told of a notification: OpenIM's fields, and the sequence. */
const webhookFields = [
  ...["serverMsgID", "clientMsgID", "sendTime", "sendUserID", "recvUserID", "recvGroupID"],
  ...["key", "data", "reliabilityLevel", "sequence", "collapseKey"],
];

type ToMessage = (name: string, summary: string, payload: JsonSchema) => object;

function toEscalation(message: ToMessage) {
  const schemas: JsonSchemas = {};
  const { properties = {}, ...whole } = createSchemas(schemas, "answer").inline(NotificationSchema);
  const own = Object.fromEntries(Object.entries(properties).filter(([name]) => webhookFields.includes(name)));
  const notification: JsonSchema = { ...whole, properties: own, required: webhookFields };
  const payload: JsonSchema = {
    type: "object",
    properties: {
      escalationID: { type: "string", description: "The same in all attempts; also the header `webhook-id`." },
      attempt: { type: "integer", minimum: 1, description: "From 1." },
      userID: { type: "string", description: "The recipient whom the notification has not reached." },
      sequence: { type: "integer", minimum: 1, description: "Its place in the recipient's inbox." },
      notification,
    },
    required: ["escalationID", "attempt", "userID", "sequence", "notification"],
  };
  return {
    ...message("escalation", "A must-reach notification that no device has acknowledged in time.", payload),
    headers: toHeaders("The `escalationID`: the same in all attempts."),
  };
}

/** What a report is told without when it is empty. */
const optionalOfReport = ["deviceID", "reason"];

function toReports(message: ToMessage) {
  const answers = createSchemas({}, "answer");
  const { properties = {}, ...whole } = answers.inline(ReportSchema);
  const required = Object.keys(properties).filter((name) => !optionalOfReport.includes(name));
  const events: JsonSchema = {
    type: "array",
    description: "In the order of their `sequence`.",
    maxItems: maxReports,
    items: { ...whole, properties, required },
  };
  const payload: JsonSchema = {
    type: "object",
    properties: { gap: answers.inline(ReportGapSchema), events },
    required: ["events"],
  };
  return {
    ...message("reports", "What has become of notifications, and which reports were lost before them.", payload),
    headers: toHeaders("`reports-<first>-<last>-<time of the last>`: the same when they are posted again."),
  };
}

function toHeaders(id: string): JsonSchema {
  const header = (description: string) => ({ type: "string", description });
  return {
    type: "object",
    properties: {
      "webhook-id": header(id),
      "webhook-timestamp": header("When this attempt was signed, in seconds since the Unix epoch."),
      "webhook-signature": header("`v1,<base64>` for each key: the HMAC-SHA256 of `<id>.<timestamp>.<body>`."),
    },
    required: ["webhook-id", "webhook-timestamp", "webhook-signature"],
  };
}
