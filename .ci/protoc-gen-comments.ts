import { buffer } from "node:stream/consumers";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponse_Feature,
  CodeGeneratorResponseSchema,
  type DescriptorProto,
  type EnumDescriptorProto,
  type FileDescriptorProto,
} from "@bufbuild/protobuf/wkt";

/**
 * A plugin of protoc: writes the comments of each contract as a table by full name, such as `mustreach.msg.v1.Send.key`.
 * Generated messages have no comments when they run, and the API's documents are made of them.
 */
const request = fromBinary(CodeGeneratorRequestSchema, await buffer(process.stdin));
const files = request.protoFile.filter(
  ({ name }) => request.fileToGenerate.includes(name) && /^mustreach\/(?!store\/)/.test(name),
);
const response = create(CodeGeneratorResponseSchema, {
  supportedFeatures: BigInt(CodeGeneratorResponse_Feature.PROTO3_OPTIONAL),
  file: files.map((file) => ({ name: file.name.replace(/\.proto$/, "_comments.ts"), content: toTable(file) })),
});
process.stdout.write(toBinary(CodeGeneratorResponseSchema, response));

function toTable(file: FileDescriptorProto): string {
  const names = namesOf(file);
  const entries = (file.sourceCodeInfo?.location ?? []).flatMap(({ path, leadingComments }): [string, string][] => {
    const name = names.get(path.join("."));
    const text = toText(leadingComments);
    return name === undefined || text === "" ? [] : [[name, text]];
  });
  const table = JSON.stringify(Object.fromEntries(entries), undefined, 2);
  return [
    `// Generated of the comments in ${file.name} (npm run generate). Not for editing.`,
    `export const comments: Readonly<Record<string, string>> = ${table};`,
    "",
  ].join("\n");
}

/** Full names by their path in the descriptor (descriptor.proto, SourceCodeInfo.Location.path). */
function namesOf(file: FileDescriptorProto): Map<string, string> {
  const names = new Map<string, string>();
  const addEnum = ({ name, value }: EnumDescriptorProto, path: string, scope: string) => {
    names.set(path, `${scope}.${name}`);
    for (const [at, { name: valueName }] of value.entries())
      names.set(`${path}.2.${at}`, `${scope}.${name}.${valueName}`);
  };
  const addMessage = (message: DescriptorProto, path: string, scope: string) => {
    const full = `${scope}.${message.name}`;
    names.set(path, full);
    for (const [at, { name }] of message.field.entries()) names.set(`${path}.2.${at}`, `${full}.${name}`);
    for (const [at, nested] of message.nestedType.entries()) addMessage(nested, `${path}.3.${at}`, full);
    for (const [at, nested] of message.enumType.entries()) addEnum(nested, `${path}.4.${at}`, full);
  };
  for (const [at, message] of file.messageType.entries()) addMessage(message, `4.${at}`, file.package);
  for (const [at, desc] of file.enumType.entries()) addEnum(desc, `5.${at}`, file.package);
  for (const [at, { name, method }] of file.service.entries()) {
    names.set(`6.${at}`, `${file.package}.${name}`);
    for (const [place, { name: methodName }] of method.entries()) {
      names.set(`6.${at}.2.${place}`, `${file.package}.${name}.${methodName}`);
    }
  }
  return names;
}

/** A comment's paragraphs, each on a line. */
function toText(comment: string): string {
  return comment
    .trim()
    .split(/\n\s*\n/)
    .map((paragraph) => paragraph.trim().replace(/\s*\n\s*/g, " "))
    .join("\n\n");
}
