import { Code, type ConnectError } from "@connectrpc/connect";
import { errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { failure } from "../errors.ts";
import { corsFields } from "../http/cors.ts";
import type { Exchange, RequestHeaders } from "../http2/exchange.ts";

/**
 * Answers a call of a method that does not exist in the protocol of its caller: `unimplemented`. False when the request
 * is no RPC.
 *
 * @param isService whether the service exists.
 * @param path the path of the method.
 */
export function answerUnimplemented(
  exchange: Exchange,
  isService: boolean,
  path: string,
  refuse: (error: ConnectError) => ConnectError,
): boolean {
  const { headers } = exchange;
  const contentType = headers["content-type"] ?? "";
  const isGrpc = /^application\/grpc\b/i.test(contentType);
  if (headers[":method"] !== "POST" || !(isGrpc || isConnect(headers, contentType, isService))) return false;
  const error = refuse(noSuchMethod(path));
  if (isGrpc) {
    // Status and headers in one: gRPC's Trailers-Only.
    const status = new Headers({ "content-type": contentType });
    setTrailerStatus(status, error);
    exchange.end([":status", "200", ...corsFields, ...[...status].flat()]);
  } else {
    const fields = [":status", "404", ...corsFields, "content-type", "application/json"];
    exchange.answer(fields, errorToJsonBytes(error, undefined));
  }
  return true;
}

/** The longest name of a method that is repeated to who calls it, in characters. */
const maxNameLength = 200;

/** The error of a call of a method that does not exist, which names it as it was called. */
export function noSuchMethod(path: string): ConnectError {
  const name = path.slice(1, 1 + maxNameLength);
  return failure("ArgsError", `there is no method ${name}`, undefined, { code: Code.Unimplemented });
}

/** A unary call of Connect may be a plain post, which elsewhere gets a plain 404. */
function isConnect(headers: RequestHeaders, contentType: string, isService: boolean): boolean {
  if ("connect-protocol-version" in headers) return true;
  return (
    /^application\/(?:connect\+\w+|proto)\b/i.test(contentType) ||
    (isService && /^application\/json\b/i.test(contentType))
  );
}
