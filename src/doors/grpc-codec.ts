import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type Message,
  type MessageInitShape,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { failure } from "../errors.ts";
import { compileFlatCodec } from "../grpc/flat-codec.ts";
import { toFrame } from "../grpc/frame.ts";
import { explain } from "../json/bind.ts";

/** How the messages of a method are read and written. */
export interface GrpcCodec {
  /**
   * Reads a message, which keeps nothing of the bytes.
   *
   * @throws ArgsError (1001) for what is none.
   */
  decode(bytes: Uint8Array): Message;
  /** Writes an answer, as a frame. */
  encode(answer: MessageInitShape<DescMessage>): Uint8Array;
}

/** Creates the codec of a method. */
export function createCodec({ input, output }: DescMethod): GrpcCodec {
  const flatInput = compileFlatCodec(input);
  const flatOutput = compileFlatCodec(output);
  const isAliasing = hasBytes(input, new Set());
  // Those would be a view of the bytes, too.
  const options = { readUnknownFields: false };
  return {
    decode(bytes) {
      const flat = flatInput.read(bytes);
      if (flat !== undefined) return flat;
      try {
        // A field of bytes would be a view of them.
        return fromBinary(input, isAliasing ? Uint8Array.from(bytes) : bytes, options);
      } catch (error) {
        throw failure("ArgsError", `the body is not a ${input.typeName}: ${explain(error)}`);
      }
    },
    encode(answer) {
      const message = create(output, answer);
      return flatOutput.write(message) ?? toFrame(toBinary(output, message));
    },
  };
}

/** @throws ArgsError (1001), UNIMPLEMENTED as gRPC has it for a wrong number of messages. */
export function requireNone(message: Message | undefined): void {
  if (message !== undefined) throw wrongNumber("the body has more than one message");
}

/** @throws as {@link requireNone}. */
export function requireOne(message: Message | undefined): Message {
  if (message === undefined) throw wrongNumber("the body has no message");
  return message;
}

function wrongNumber(errDlt: string) {
  return failure("ArgsError", errDlt, undefined, { code: Code.Unimplemented });
}

/** Whether a message, or one within it, has a field of bytes. */
function hasBytes({ typeName, fields }: DescMessage, seen: Set<string>): boolean {
  if (seen.has(typeName)) return false;
  seen.add(typeName);
  return fields.some((field) => {
    if (field.fieldKind !== "message" && field.scalar === ScalarType.BYTES) return true;
    return field.message !== undefined && hasBytes(field.message, seen);
  });
}
