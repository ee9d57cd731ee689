import type { ContextValues } from "@connectrpc/connect";
import type { UniversalServerRequest, UniversalServerResponse } from "@connectrpc/connect/protocol";
import { callerGone } from "../calls/call-ends.ts";
import { toHeaders } from "../calls/context.ts";
import { encodeEmpty, toEncoding } from "../calls/decode.ts";
import type { IncomingBody } from "../calls/incoming-body.ts";
import { corsFields } from "../http/cors.ts";
import type { Target } from "../http/target.ts";
import type { Exchange, Fields } from "../http2/exchange.ts";
import { BodyStream } from "./body-stream.ts";

/** A request as Connect's handlers take it. */
type UniversalRequest = UniversalServerRequest & {
  readonly contextValues: ContextValues;
  readonly signal: AbortSignal;
};

/**
 * The request as Connect's handlers take it: with an empty message as its body, and so without the length of the real
 * one, unless it is a stream of both directions.
 */
export function toUniversalRequest(
  exchange: Exchange,
  body: IncomingBody | BodyStream,
  { url }: Target,
  contextValues: ContextValues,
): UniversalRequest {
  const { headers, connection } = exchange;
  const controller = new AbortController();
  body.closed = (isWhole) => {
    if (!isWhole) controller.abort(callerGone);
  };
  const header = toHeaders(headers);
  header.delete("content-length");
  return {
    httpVersion: connection.isHttp2 ? "2.0" : "1.1",
    method: headers[":method"] ?? "",
    url,
    header,
    body: body instanceof BodyStream ? body : toIterable(encodeEmpty(toEncoding(headers["content-type"] ?? ""))),
    signal: controller.signal,
    contextValues,
  };
}

async function* toIterable(piece: Uint8Array) {
  yield piece;
}

/** Writes an answer that is made at once. */
export async function answerWhole(exchange: Exchange, answered: UniversalServerResponse): Promise<void> {
  const pieces: Uint8Array[] = [];
  for await (const piece of answered.body ?? []) pieces.push(piece);
  const [first = new Uint8Array(), ...more] = pieces;
  exchange.answer(toFields(answered), more.length === 0 ? first : Buffer.concat(pieces), toTrailers(answered));
}

/** Writes an answer piece by piece: what is made waits for what is sent. */
export async function answerPiecemeal(
  exchange: Exchange,
  answered: UniversalServerResponse,
  body: IncomingBody | BodyStream,
  signal: AbortSignal,
): Promise<void> {
  let isBegun = false;
  let goOn: (() => void) | undefined;
  body.drained = () => goOn?.();
  signal.addEventListener("abort", () => goOn?.());
  const begin = () => {
    // With the first piece: until then the method may set header fields.
    if (!isBegun) exchange.respond(toFields(answered));
    isBegun = true;
  };
  for await (const piece of answered.body ?? []) {
    begin();
    const isTooMuch = !exchange.write(piece);
    if (signal.aborted) return;
    if (isTooMuch) {
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
    }
  }
  begin();
  exchange.end(toTrailers(answered));
}

function toFields({ status, header }: UniversalServerResponse): Fields {
  return [":status", String(status), ...corsFields, ...[...(header ?? [])].flat()];
}

function toTrailers({ trailer }: UniversalServerResponse): Fields | undefined {
  return trailer && [...trailer].flat();
}
