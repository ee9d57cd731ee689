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
