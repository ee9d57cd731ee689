import { isUtf8 } from "node:buffer";
import { type DescMessage, fromJson, getOption, type JsonValue, type Message } from "@bufbuild/protobuf";
import { isFieldError } from "@bufbuild/protobuf/reflect";
import { Code } from "@connectrpc/connect";
import { failure } from "../errors.ts";
import { bind_required, bind_status } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { isObject, matchFieldNames } from "./field-names.ts";
import { refuseLongIntegers } from "./long-integers.ts";
import { compileReadPlain, type ReadPlain } from "./read-plain.ts";

/** Which message a body is bound to, and how. */
export interface Binding {
  readonly input: DescMessage;
  /** Whether a key that is no field is refused. Default: it is ignored. */
  readonly isStrict?: boolean;
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

/** Any error as one for the caller. */
export function toFailure(error: unknown): unknown {
  if (!(error instanceof BindError)) return error;
  // REST's clients see the status, those of RPCs the code.
  const details = error.httpStatus === 413 ? { code: Code.ResourceExhausted } : {};
  return failure("ArgsError", error.message, error, details);
}

/** A mark of the byte order, in UTF-8. */
const byteOrderMark = 0xef;

// Fatal: replacing what does not decode would send a notification to somebody else.
const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * The text of a body.
 *
 * @throws {BindError} with this status when it is not UTF-8.
 */
export function toText(body: Buffer, badStatus: 200 | 400): string {
  // At a third of the decoder's price, and all but the first character is as there.
  if (body[0] !== byteOrderMark && isUtf8(body)) return body.toString();
  try {
    return utf8.decode(body);
  } catch {
    throw new BindError("the body is not UTF-8", badStatus);
  }
}

interface BindRules {
  readonly status: 200 | 400;
  readonly required: readonly string[];
  readonly readPlain: ReadPlain;
}

const rules = new WeakMap<DescMessage, BindRules>();

/** What the proto's options say of a message, read once. */
function rulesOf(desc: DescMessage): BindRules {
  const known = rules.get(desc);
  if (known !== undefined) return known;
  const required = desc.fields.filter((field) => getOption(field, bind_required)).map(({ jsonName }) => jsonName);
  const read: BindRules = {
    status: getOption(desc, bind_status) === 400 ? 400 : 200,
    required,
    readPlain: compileReadPlain(desc),
  };
  rules.set(desc, read);
  return read;
}

/** The HTTP status of a body that does not bind to a message. */
export function bindStatus(desc: DescMessage): 200 | 400 {
  return rulesOf(desc).status;
}

/**
 * Makes a method's message of a JSON body, as strict and as lenient as OpenIM: names match in any case, unknown keys
 * are ignored, null is absent, and a number must be a number.
 *
 * @param onUnknown is told the keys that are no fields, if there are any, also when the body is refused.
 * @throws {BindError} with the message's {@link bindStatus}.
 */
export function bind(
  { input, isStrict = false }: Binding,
  body: string,
  onUnknown?: (names: readonly string[]) => void,
): Message {
  const { status, required, readPlain } = rulesOf(input);
  let json: JsonValue;
  try {
    json = JSON.parse(body);
  } catch {
    // The parser's own words quote the body, which may hold a token or a secret.
    throw new BindError("the body is not JSON", status);
  }
  if (required.every((name) => isObject(json) && json[name])) {
    const message = readPlain(json);
    if (message !== undefined) return message;
  }
  const unknown = new Set<string>();
  try {
    json = matchFieldNames(input, json, unknown);
    for (const name of required) {
      if (!isObject(json) || !json[name]) throw new Error(`${name} is required`);
    }
    if (isStrict && unknown.size > 0) throw new Error(`unknown: ${[...unknown].join(", ")}`);
    refuseLongIntegers(input, json);
    return fromJson(input, json, { ignoreUnknownFields: true });
  } catch (error) {
    throw new BindError(explain(error), status);
  } finally {
    if (unknown.size > 0) onUnknown?.([...unknown]);
  }
}

/** What is wrong with a message, by the documented name of the field; protobuf's own words have the proto's. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return "the body does not fit";
  if (!isFieldError(error.cause)) return shorten(error.message);
  const field = error.cause.field();
  return `${field.kind === "field" ? field.jsonName : field.name}: ${shorten(error.cause.message)}`;
}

/** protobuf's words quote the value, and end with what they have to say about it: of each a part is enough. */
function shorten(text: string): string {
  return text.length <= 120 ? text : `${text.slice(0, 80)}…${text.slice(-20)}`.toWellFormed();
}
