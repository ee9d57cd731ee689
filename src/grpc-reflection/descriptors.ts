import { type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";

/** The descriptors of services, and of all that they use, as reflection looks for them. Names are full ones. */
export interface Descriptors {
  /** The names of the services. */
  readonly services: readonly string[];
  /** The file of a name, such as `google/protobuf/any.proto`. */
  file(name: string): DescFile | undefined;
  /** The file with a message, a field, a oneof, an enum, a value of one, an extension, a service or a method. */
  fileOfSymbol(symbol: string): DescFile | undefined;
  /** The file with the extension of a message type that has this number. */
  fileOfExtension(type: string, number: number): DescFile | undefined;
  /** The numbers of all extensions of a message type; undefined when there is no such type. */
  extensionNumbers(type: string): readonly number[] | undefined;
  /** A file's FileDescriptorProto, encoded. */
  encode(file: DescFile): Uint8Array;
}

/** Collects the descriptors of services, of further files, and of all that those import. */
export function createDescriptors(services: readonly DescService[], others: readonly DescFile[] = []): Descriptors {
  const roots = [...services.map(({ file }) => file), ...others];
  const files = new Map(withImports(roots).map((file) => [file.proto.name, file]));
  const symbols = new Map<string, DescFile>();
  /** Message types with their extensions, by number. */
  const extensions = new Map<string, Map<number, DescFile>>();
  const extensionsOf = (type: string) => {
    const known = extensions.get(type) ?? new Map<number, DescFile>();
    extensions.set(type, known);
    return known;
  };
  for (const file of files.values()) {
    for (const desc of nestedTypes(file)) {
      symbols.set(desc.typeName, file);
      if (desc.kind === "message") {
        extensionsOf(desc.typeName);
        for (const { name } of [...desc.fields, ...desc.oneofs]) symbols.set(`${desc.typeName}.${name}`, file);
      } else if (desc.kind === "enum") {
        // Values are in the scope of their enum, and not in the enum (C++'s rules).
        const scope = desc.typeName.slice(0, -desc.name.length);
        for (const { name } of desc.values) symbols.set(`${scope}${name}`, file);
      } else if (desc.kind === "service") {
        for (const { name } of desc.methods) symbols.set(`${desc.typeName}.${name}`, file);
      } else {
        extensionsOf(desc.extendee.typeName).set(desc.number, file);
      }
    }
  }
  const encoded = new Map<DescFile, Uint8Array>();
  return {
    services: services.map(({ typeName }) => typeName),
    file: (name) => files.get(name),
    fileOfSymbol: (symbol) => symbols.get(symbol),
    fileOfExtension: (type, number) => extensions.get(type)?.get(number),
    extensionNumbers(type) {
      const known = extensions.get(type);
      return known && [...known.keys()].sort((a, b) => a - b);
    },
    encode(file) {
      const bytes = encoded.get(file) ?? toBinary(FileDescriptorProtoSchema, file.proto);
      encoded.set(file, bytes);
      return bytes;
    },
  };
}

/** Files and all that they import, directly or not, each once: the given ones first. */
export function withImports(files: readonly DescFile[]): DescFile[] {
  const found = new Set(files);
  // What is added on the way is visited too.
  for (const file of found) for (const imported of file.dependencies) found.add(imported);
  return [...found];
}
