import { Code, type ConnectError } from "@connectrpc/connect";
import { errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { failure } from "../errors.ts";
import type { HttpRequest, HttpResponse } from "../http/listener.ts";

/**
 * Answers a call of a method that does not exist in the protocol of its caller: `unimplemented`. False when the request
 * is no RPC.
 *
 * @param isService whether the service exists.
 */
export function answerUnimplemented(
  request: HttpRequest,
  response: HttpResponse,
  isService: boolean,
  refuse: (error: ConnectError) => ConnectError,
): boolean {
  const contentType = request.headers["content-type"] ?? "";
  const isGrpc = /^application\/grpc\b/i.test(contentType);
  if (request.method !== "POST" || !(isGrpc || isConnect(request, contentType, isService))) return false;
  const error = refuse(failure("ArgsError", "there is no such method", undefined, { code: Code.Unimplemented }));
  if (isGrpc) {
    // Status and headers in one: gRPC's Trailers-Only.
    const status = new Headers({ "content-type": contentType });
    setTrailerStatus(status, error);
    response.statusCode = 200;
    for (const [name, value] of status) response.setHeader(name, value);
    response.end();
  } else {
    response.writeHead(404, { "content-type": "application/json" });
    response.end(Buffer.from(errorToJsonBytes(error, undefined)));
  }
  return true;
}

/** A unary call of Connect may be a plain post, which elsewhere gets a plain 404. */
function isConnect(request: HttpRequest, contentType: string, isService: boolean): boolean {
  if ("connect-protocol-version" in request.headers) return true;
  return (
    /^application\/(?:connect\+\w+|proto)\b/i.test(contentType) ||
    (isService && /^application\/json\b/i.test(contentType))
  );
}
