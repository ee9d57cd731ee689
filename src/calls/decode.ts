import {
  type DescMessage,
  fromBinary,
  fromJson,
  type JsonValue,
  type Message,
  type MessageShape,
  type Registry,
} from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { failure } from "../errors.ts";
import { explain } from "../json/bind.ts";
import { refuseLongIntegers } from "../json/long-integers.ts";

/** How a request's message is written, by its Content-Type. */
export interface Encoding {
  readonly isJson: boolean;
  /** Whether it stands in an envelope of flags and length: gRPC, gRPC-Web, and Connect's streams. */
  readonly isEnveloped: boolean;
}

/** A message's envelope: a byte of flags, and the length in 4 bytes. */
export const envelopeBytes = 5;
const compressedFlag = 1;

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Reads the encoding of an RPC from its Content-Type; one that is none of ours is refused by Connect. */
export function toEncoding(contentType: string): Encoding {
  return {
    isJson: /^application\/(?:[\w-]+\+)?json\b/i.test(contentType),
    isEnveloped: /^application\/(?:grpc|connect)/i.test(contentType),
  };
}

/**
 * Decodes the one message of a request: of a unary call or of a server stream.
 *
 * @param registry the types of Any in JSON. Default: none.
 * @throws ArgsError (1001) for anything else.
 */
export function decodeMessage(
  input: DescMessage,
  { isJson, isEnveloped }: Encoding,
  body: Uint8Array,
  registry?: Registry,
): Message {
  const bytes = isEnveloped ? openEnvelope(body) : body;
  try {
    return isJson ? readJson(input, parseJson(bytes), registry) : fromBinary(input, bytes);
  } catch (error) {
    throw failure("ArgsError", `the body is not a ${input.typeName}: ${explain(error)}`);
  }
}

/**
 * Reads a message in protobuf's JSON. Keys that are no fields are ignored.
 *
 * @throws Error for what is none.
 */
export function readJson<D extends DescMessage>(input: D, json: JsonValue, registry?: Registry): MessageShape<D> {
  refuseLongIntegers(input, json);
  return fromJson(input, json, { ignoreUnknownFields: true, ...(registry && { registry }) });
}

/** The shortest body that Connect takes for a message. */
export function encodeEmpty({ isJson, isEnveloped }: Encoding): Uint8Array {
  const message = Buffer.from(isJson ? "{}" : "");
  return isEnveloped ? Buffer.concat([Buffer.of(0, 0, 0, 0, message.length), message]) : message;
}

function openEnvelope(body: Uint8Array): Uint8Array {
  if (body.length === 0) throw malformed("the body has no message", Code.Unimplemented);
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const length = body.length < envelopeBytes ? undefined : view.getUint32(1);
  if (length === undefined || length > body.length - envelopeBytes) {
    throw failure("ArgsError", "the message in the body is cut off");
  }
  if (length < body.length - envelopeBytes) throw malformed("the body has more than one message", Code.Unimplemented);
  if ((view.getUint8(0) & compressedFlag) !== 0) {
    throw malformed("the message is compressed, by no encoding", Code.Internal);
  }
  return body.subarray(envelopeBytes);
}

/** ArgsError with the code that gRPC has for it. */
function malformed(errDlt: string, code: Code) {
  return failure("ArgsError", errDlt, undefined, { code });
}

/** @throws Error that quotes nothing of the text. */
export function parseJson(body: Uint8Array | string): JsonValue {
  try {
    return JSON.parse(typeof body === "string" ? body : utf8.decode(body));
  } catch {
    // The parser's own words quote the body, which may hold a token or a secret.
    throw new Error("it is not JSON");
  }
}
