import { operationIdHeader } from "../observe/operation-id.ts";
import { version } from "../version.ts";
import { commentOf } from "./comments.ts";
import { errorSchema } from "./errors.ts";
import type { JsonSchemas } from "./json-schema.ts";
import { toOperation } from "./operation.ts";
import { createSchemas } from "./schema.ts";
import { listRestRoutes, services } from "./services.ts";

/** The header of a generic text. */
const textHeader = (description: string) => ({ description, schema: { type: "string" } });

/**
 * The OpenAPI 3.1 document of the REST API, made of the contract.
 *
 * @param apiUrl where the API answers; absent: at the place of the document.
 */
export function toOpenApi(apiUrl = "/") {
  const schemas: JsonSchemas = { Error: errorSchema };
  const all = { requests: createSchemas(schemas, "request"), answers: createSchemas(schemas, "answer") };
  const routes = listRestRoutes();
  const paths = Object.fromEntries(routes.map((route) => [route.path, { post: toOperation(route, all) }]));
  return {
    openapi: "3.1.0",
    info: {
      title: "Mustreach",
      version,
      summary: "Business notifications that reach",
      description:
        "Every call is a POST with a JSON body. Names of fields match in any case, unknown ones are ignored. The answer is an envelope: HTTP 200 with `errCode` 0 and `data`, or with the `errCode` of a business error. The same methods answer over gRPC, gRPC-Web and Connect; events of devices and webhooks are in the AsyncAPI document.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: apiUrl }],
    tags: services
      .filter(({ methods }) => routes.some(({ method }) => methods.includes(method as never)))
      .map((service) => ({ name: service.name, description: commentOf(service) })),
    paths,
    components: {
      securitySchemes: {
        token: { type: "apiKey", in: "header", name: "token", description: "A token: OpenIM's header." },
        bearer: { type: "http", scheme: "bearer", bearerFormat: "JWT", description: "The same token." },
      },
      parameters: {
        operationID: {
          name: operationIdHeader,
          in: "header",
          required: true,
          description: "Traces the call through logs; unique for each.",
          schema: { type: "string", minLength: 1 },
          example: "1646445464564",
        },
        idempotencyKey: {
          name: "Idempotency-Key",
          in: "header",
          required: false,
          description: "The `clientMsgID` of a body that has none.",
          schema: { type: "string", minLength: 1, maxLength: 256, pattern: "^[!-~]+$" },
        },
      },
      headers: {
        operationID: textHeader("The operation id of the call."),
        UnknownFields: textHeader("The keys of the body that are no fields, and were ignored."),
        RetryAfter: {
          description: "After how many seconds trying again may help.",
          schema: { type: "integer", minimum: 1 },
        },
      },
      schemas,
    },
  };
}
