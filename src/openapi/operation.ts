import { type DescMessage, getOption } from "@bufbuild/protobuf";
import { accessOf } from "../auth/caller.ts";
import { bind_status, idempotency_key, is_data } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { headerFields } from "../json/envelope.ts";
import { operationIdHeader } from "../observe/operation-id.ts";
import { commentOf } from "./comments.ts";
import { examples } from "./examples.ts";
import type { JsonSchema } from "./json-schema.ts";
import type { Schemas } from "./schema.ts";
import type { RestRoute } from "./services.ts";

/** The schemas of a document's bodies and of its answers. */
export interface OperationSchemas {
  readonly requests: Schemas;
  readonly answers: Schemas;
}

const json = "application/json";
const anyToken = [{ token: [] }, { bearer: [] }];

/** What OpenAPI says of a method's path: the operation of its POST. */
export function toOperation({ path, method }: RestRoute, schemas: OperationSchemas) {
  const access = accessOf(method);
  const [summary = "", ...paragraphs] = commentOf(method).split("\n\n");
  const example = examples[path];
  const refused = {
    description: "An error of the transport or of the binding, with its envelope.",
    content: { [json]: { schema: { $ref: "#/components/schemas/Error" } } },
  };
  return {
    operationId: `${method.parent.name}_${method.name}`,
    tags: [method.parent.name],
    summary: firstSentence(summary),
    description: [summary, ...paragraphs].join("\n\n"),
    ...(access === "anybody" ? { security: [] } : { security: anyToken }),
    "x-access": typeof access === "string" ? access : access.sendersToo ? "senders" : "admins",
    parameters: [
      { $ref: "#/components/parameters/operationID" },
      ...(hasIdempotencyKey(method.input) ? [{ $ref: "#/components/parameters/idempotencyKey" }] : []),
    ],
    requestBody: {
      required: true,
      content: {
        [json]: {
          schema: schemas.requests.reference(method.input),
          ...(example === undefined ? {} : { example: example.request }),
        },
      },
    },
    responses: {
      200: {
        description: "The envelope: `errCode` is 0 and `data` is there on success, or it is a business error.",
        headers: toHeaders(method.output),
        content: {
          [json]: {
            schema: { oneOf: [toSuccess(method.output, schemas.answers), { $ref: "#/components/schemas/Error" }] },
            ...(example?.answer === undefined ? {} : { example: example.answer }),
          },
        },
      },
      400: {
        ...refused,
        description:
          getOption(method.input, bind_status) === 400
            ? "The body does not bind: no JSON, a wrong type, a required field that is missing (errCode 1001)."
            : "The request is broken: cut off, or its host is none (errCode 1001).",
      },
      413: { ...refused, description: "The body is too large (errCode 1001)." },
      415: { ...refused, description: "A Content-Encoding other than gzip (errCode 1001)." },
      429: {
        ...refused,
        description: "Too many calls (errCode 429): again after `Retry-After`.",
        headers: { "Retry-After": { $ref: "#/components/headers/RetryAfter" } },
      },
    },
  };
}

function toSuccess(output: DescMessage, answers: Schemas): JsonSchema {
  const list = output.fields.find((field) => getOption(field, is_data));
  const whole = output.fields.length === 0 ? undefined : answers.reference(output);
  const data = list === undefined ? whole : answers.inline(output).properties?.[list.jsonName];
  const text: JsonSchema = { type: "string", const: "" };
  return {
    title: "Success",
    type: "object",
    properties: {
      errCode: { type: "integer", const: 0 },
      errMsg: text,
      errDlt: text,
      ...(data === undefined ? {} : { data }),
    },
    required: ["errCode", "errMsg", "errDlt", ...(data === undefined ? [] : ["data"])],
  };
}

function toHeaders(output: DescMessage) {
  const own = output.fields.flatMap((field) => {
    const name = headerFields[field.jsonName];
    if (name === undefined || field.enum === undefined) return [];
    const { sharedPrefix, values } = field.enum;
    const texts = values.map(({ name }) => name.slice(sharedPrefix?.length));
    return [[name, { description: commentOf(field), schema: { type: "string", enum: texts } }]];
  });
  return {
    [operationIdHeader]: { $ref: "#/components/headers/operationID" },
    "Mustreach-Unknown-Fields": { $ref: "#/components/headers/UnknownFields" },
    "Retry-After": { $ref: "#/components/headers/RetryAfter" },
    ...Object.fromEntries(own),
  };
}

function hasIdempotencyKey(input: DescMessage): boolean {
  return input.fields.some((field) => getOption(field, idempotency_key));
}

/** Without the method's name at its beginning, which the comments of Go and protobuf have. */
function firstSentence(text: string): string {
  const [sentence = ""] = text.split(/(?<=[.:])\s/);
  const rest = sentence.replace(/^\w+ /, "").replace(/[.:]$/, "");
  return rest.charAt(0).toUpperCase() + rest.slice(1);
}
