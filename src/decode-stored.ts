import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { failure } from "./errors.ts";

/**
 * Decodes what the broker holds.
 *
 * @throws ServerInternalError (500) for bytes that are not of the message: another version has written them, or somebody
 * else.
 */
export function decodeStored<D extends DescMessage>(schema: D, payload: Uint8Array): MessageShape<D> {
  try {
    return fromBinary(schema, payload);
  } catch (cause) {
    throw failure("ServerInternalError", `what is stored is not a ${schema.typeName}`, cause);
  }
}

/** A message of the client library. */
interface Headed {
  readonly data: Uint8Array;
  readonly headers?: { get(name: string): string };
}

/**
 * Reads the headers of a message, by name; "" for one that it does not have. The client library decodes all of them, and
 * looks each up among all: where two are asked for, most of the cost of a message.
 */
export function readHeaders(msg: Headed): (name: string) => string {
  const block = blockOf(msg);
  if (block === undefined) return (name) => msg.headers?.get(name) ?? "";
  return (name) => {
    const line = `\r\n${name}:`;
    const begin = block.indexOf(line);
    return begin < 0 ? "" : block.slice(begin + line.length, block.indexOf("\r\n", begin + line.length)).trim();
  };
}

const headersBegin = "NATS/1.0";
const headersEnd = "\r\n\r\n";

/** The headers as they came, right before the payload; undefined where that is not plain to see. */
function blockOf({ data }: Headed): string | undefined {
  const before = Buffer.from(data.buffer, 0, data.byteOffset);
  if (before.toString("latin1", Math.max(0, before.length - headersEnd.length)) !== headersEnd) return undefined;
  const begin = before.lastIndexOf(headersBegin);
  // In a value, it does not begin a line.
  if (begin < 0 || (begin > 0 && before[begin - 1] !== lineFeed)) return undefined;
  const block = before.toString("utf8", begin);
  return block.indexOf(headersEnd) === block.length - headersEnd.length ? block : undefined;
}

const lineFeed = 10;
