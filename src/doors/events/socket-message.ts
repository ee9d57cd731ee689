import { parseJson, readJson } from "../../calls/decode.ts";
import { failure } from "../../errors.ts";
import { type ReceiveRequest, ReceiveRequestSchema } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import { explain } from "../../json/bind.ts";

/** A message of a device over a WebSocket. */
export type SocketMessage =
  | { readonly kind: "ping" }
  | { readonly kind: "request"; readonly request: ReceiveRequest; readonly token: string | undefined };

/**
 * Reads a message: `{"ping":{}}`, or protobuf's JSON of ReceiveRequest, with a `token` beside it.
 *
 * @throws ArgsError (1001) for anything else.
 */
export function readSocketMessage(text: string): SocketMessage {
  try {
    const json = parseJson(text);
    if (typeof json !== "object" || json === null || Array.isArray(json)) throw new Error("it is no object");
    const { ping, token, ...rest } = json;
    if (ping !== undefined) return { kind: "ping" };
    if (token !== undefined && typeof token !== "string") throw new Error("token must be a string");
    return { kind: "request", request: readJson(ReceiveRequestSchema, rest), token };
  } catch (error) {
    throw failure("ArgsError", `the message is not a ${ReceiveRequestSchema.typeName}: ${explain(error)}`);
  }
}
