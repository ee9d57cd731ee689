import { type DescMethod, getOption, hasOption } from "@bufbuild/protobuf";
import { http } from "../gen/google/api/annotations_pb.ts";

/**
 * The path of a method over REST, as its google.api.http annotation has it; undefined for a method without one.
 *
 * @throws for an annotation that is not supported.
 */
export function restPath(method: DescMethod): string | undefined {
  if (!hasOption(method, http)) return undefined;
  const { pattern, body, additionalBindings } = getOption(method, http);
  const isFixedPost = pattern.case === "post" && body === "*" && /^\/[^{}*]+$/.test(pattern.value);
  if (!isFixedPost || additionalBindings.length > 0 || method.methodKind !== "unary") {
    throw new Error(`${method.toString()}: only { post: "/a/fixed/path" body: "*" } of a unary method is supported`);
  }
  return pattern.value;
}
