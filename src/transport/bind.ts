import {
  type DescField,
  type DescMessage,
  fromJson,
  type JsonValue,
  type Message,
  ScalarType,
} from "@bufbuild/protobuf";
import { isFieldError } from "@bufbuild/protobuf/reflect";
import { SendBusinessNotificationRequestSchema } from "../gen/mustreach/msg/v1/msg_pb.ts";
import type { HttpRequest } from "./listener.ts";

/** Which method a body is bound to. */
export interface Binding {
  readonly path: string;
  readonly input: DescMessage;
}

/** A body that cannot be bound to the method: 1001, with an HTTP status of its own. */
export class BindError extends Error {
  override name = "BindError";
  readonly httpStatus: number;

  constructor(message: string, httpStatus: number) {
    super(message);
    this.httpStatus = httpStatus;
  }
}

// Fatal: replacing what does not decode would send a notification to somebody else.
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Fields that OpenIM's binding requires, so that their absence is a bad body rather than a bad argument. */
const boundFields: Readonly<Record<string, readonly string[]>> = {
  [SendBusinessNotificationRequestSchema.typeName]: ["sendUserID"],
};

/**
 * Reads a request's body. Rejects with {@link BindError} and 413 when it is larger than `maxBytes`; the rest is still
 * taken from the wire and thrown away, so that the answer can be read. Rejects with 400 when it is not UTF-8.
 */
export function readBody(request: HttpRequest, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = [];
    let bytes = 0;
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= maxBytes) {
        chunks.push(chunk);
        return;
      }
      chunks = [];
      reject(new BindError(`the body is larger than ${maxBytes} bytes`, 413));
    });
    request.on("end", () => {
      try {
        resolve(utf8.decode(Buffer.concat(chunks)));
      } catch {
        reject(new BindError("the body is not UTF-8", 400));
      }
    });
    request.on("error", reject);
    request.on("close", () => {
      // An error is made only where there is one: its stack costs more than the rest of this function.
      if (!request.readableEnded) reject(new BindError("the body was cut off", 400));
    });
  });
}

/**
 * Makes a method's message of a JSON body, as strict and as lenient as OpenIM: unknown keys are ignored, null is
 * absent, and a number must be a number.
 *
 * @throws {BindError} with 400, or with 200 for `/auth/` paths: OpenIM binds those with ShouldBind, which leaves the
 * status alone.
 */
export function bind({ path, input }: Binding, body: string): Message {
  const status = path.startsWith("/auth/") ? 200 : 400;
  let json: JsonValue;
  try {
    json = JSON.parse(body);
  } catch {
    // The parser's own words quote the body, which may hold a token or a secret.
    throw new BindError("the body is not JSON", status);
  }
  try {
    for (const field of input.fields) requireNumber(field, json);
    for (const name of boundFields[input.typeName] ?? []) {
      if (!isObject(json) || !json[name]) throw new Error(`${name} is required`);
    }
    return fromJson(input, json, { ignoreUnknownFields: true });
  } catch (error) {
    throw new BindError(explain(error), status);
  }
}

/** What is wrong with a body, by the documented name of the field; protobuf's own words have the proto's. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return "the body does not fit";
  if (!isFieldError(error.cause)) return error.message;
  const field = error.cause.field();
  return `${field.kind === "field" ? field.jsonName : field.name}: ${error.cause.message}`;
}

/** protobuf-JSON takes "2" for 2; OpenIM does not. 64-bit integers keep protobuf's leniency. */
function requireNumber(field: DescField, json: JsonValue): void {
  if (field.fieldKind !== "scalar" || field.scalar !== ScalarType.INT32 || !isObject(json)) return;
  if (typeof json[field.jsonName] === "string") throw new Error(`${field.jsonName} must be a number`);
}

function isObject(json: JsonValue): json is { [key: string]: JsonValue } {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}
