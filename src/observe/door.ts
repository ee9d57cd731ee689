import type { HandlerContext } from "@connectrpc/connect";

/** The ways in which a device receives. */
export const doors = [
  "grpc_receive",
  "grpc_subscribe",
  "connect",
  "grpc_web",
  "sse",
  "websocket",
  "openim_js",
  "openim_go",
] as const;

export type Door = (typeof doors)[number];

/** Through which door a device has called. */
export function doorOf({ protocolName, method }: Pick<HandlerContext, "protocolName" | "method">): Door {
  if (protocolName === "grpc") return method.methodKind === "bidi_streaming" ? "grpc_receive" : "grpc_subscribe";
  const name = protocolName.replace("-", "_");
  return doors.find((door) => door === name) ?? "connect";
}
