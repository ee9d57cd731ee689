import type { DescFile } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { ServerReflectionRequest as V1 } from "../gen/grpc/reflection/v1/reflection_pb.ts";
import type { ServerReflectionRequest as V1alpha } from "../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { type Descriptors, withImports } from "./descriptors.ts";

/** What is asked, in either version of the protocol. */
export type Question = V1["messageRequest"] | V1alpha["messageRequest"];

/** What is answered: the same in both versions. */
export type Answer =
  | { case: "fileDescriptorResponse"; value: { fileDescriptorProto: Uint8Array[] } }
  | { case: "allExtensionNumbersResponse"; value: { baseTypeName: string; extensionNumber: number[] } }
  | { case: "listServicesResponse"; value: { service: { name: string }[] } }
  | { case: "errorResponse"; value: { errorCode: number; errorMessage: string } };

/**
 * Answers one question of a stream.
 *
 * @param sent the files that the stream has had: what others import of them is not sent again.
 * @throws INVALID_ARGUMENT for a request that asks nothing.
 */
export function answer(descriptors: Descriptors, question: Question, sent: Set<DescFile>): Answer {
  switch (question.case) {
    case "listServices":
      return {
        case: "listServicesResponse",
        value: { service: descriptors.services.map((name) => ({ name })) },
      };
    case "fileByFilename":
      return toFiles(descriptors, descriptors.file(question.value), sent);
    case "fileContainingSymbol":
      return toFiles(descriptors, descriptors.fileOfSymbol(question.value), sent);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = question.value;
      return toFiles(descriptors, descriptors.fileOfExtension(containingType, extensionNumber), sent);
    }
    case "allExtensionNumbersOfType": {
      const numbers = descriptors.extensionNumbers(question.value);
      if (numbers === undefined) return notFound("there is no such message type");
      return {
        case: "allExtensionNumbersResponse",
        value: { baseTypeName: question.value, extensionNumber: [...numbers] },
      };
    }
    default:
      throw new ConnectError("the request asks nothing", Code.InvalidArgument);
  }
}

function toFiles({ encode }: Descriptors, file: DescFile | undefined, sent: Set<DescFile>): Answer {
  if (file === undefined) return notFound("there is no file of that, or with that");
  const files = withImports([file]).filter((one) => one === file || !sent.has(one));
  for (const one of files) sent.add(one);
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto: files.map(encode) } };
}

function notFound(errorMessage: string): Answer {
  return { case: "errorResponse", value: { errorCode: Code.NotFound, errorMessage } };
}
