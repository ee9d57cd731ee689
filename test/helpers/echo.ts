import { create, createFileRegistry, type DescService } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, file_google_protobuf_wrappers } from "@bufbuild/protobuf/wkt";

/**
 * A service of each kind of method:
 *
 * | | |
 * |---|---|
 * | `rpc Say(StringValue) returns (StringValue)` | |
 * | `rpc Keep(BytesValue) returns (BytesValue)` | whose message has bytes |
 * | `rpc List(StringValue) returns (stream StringValue)` | |
 * | `rpc Talk(stream StringValue) returns (stream StringValue)` | |
 */
export function compileEcho(): DescService {
  const { name } = file_google_protobuf_wrappers.proto;
  const text = ".google.protobuf.StringValue";
  const bytes = ".google.protobuf.BytesValue";
  const file = create(FileDescriptorProtoSchema, {
    name: "echo.proto",
    package: "test",
    syntax: "proto3",
    dependency: [name],
    service: [
      {
        name: "Echo",
        method: [
          { name: "Say", inputType: text, outputType: text },
          { name: "Keep", inputType: bytes, outputType: bytes },
          { name: "List", inputType: text, outputType: text, serverStreaming: true },
          { name: "Talk", inputType: text, outputType: text, clientStreaming: true, serverStreaming: true },
        ],
      },
    ],
  });
  const registry = createFileRegistry(file, (path) => (path === name ? file_google_protobuf_wrappers : undefined));
  const service = registry.getService("test.Echo");
  if (service === undefined) throw new Error("the service did not compile");
  return service;
}
