import { create, createFileRegistry, type DescFile, fromBinary } from "@bufbuild/protobuf";
import {
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  file_google_protobuf_any,
  file_google_protobuf_descriptor,
} from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import { afterEach, expect, test, vi } from "vitest";
import { ServerReflection } from "../../src/gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1alpha } from "../../src/gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { createReflectionServices } from "../../src/grpc-reflection/service.ts";

afterEach(() => void vi.useRealTimers());

const string = { type: 9, label: 1 } as const;
const optionsName = ".google.protobuf.MethodOptions";

/** A service, an option of ours for its method, and messages in a file of their own. */
function compileShop(): readonly DescFile[] {
  const descriptor = file_google_protobuf_descriptor.proto;
  const set = create(FileDescriptorSetSchema, {
    file: [
      descriptor,
      {
        name: "shop/order.proto",
        package: "shop",
        syntax: "proto3",
        messageType: [
          {
            name: "Order",
            field: [
              { name: "id", number: 1, ...string, oneofIndex: 0 },
              { name: "code", number: 2, ...string, oneofIndex: 0 },
            ],
            oneofDecl: [{ name: "name" }],
            nestedType: [{ name: "Line", field: [{ name: "text", number: 1, ...string }] }],
            enumType: [{ name: "State", value: [{ name: "STATE_OPEN", number: 0 }] }],
          },
        ],
        enumType: [{ name: "Size", value: [{ name: "SIZE_SMALL", number: 0 }] }],
      },
      {
        name: "shop/options.proto",
        package: "shop",
        syntax: "proto3",
        dependency: [descriptor.name],
        extension: [
          { name: "late", number: 50_002, ...string, extendee: optionsName, proto3Optional: true },
          { name: "early", number: 50_001, ...string, extendee: optionsName, proto3Optional: true },
        ],
      },
      {
        name: "shop/shop.proto",
        package: "shop",
        syntax: "proto3",
        dependency: ["shop/order.proto", "shop/options.proto"],
        service: [
          {
            name: "Orders",
            method: [{ name: "Place", inputType: ".shop.Order", outputType: ".shop.Order" }],
          },
        ],
      },
    ],
  });
  return [...createFileRegistry(set).files];
}

const shop = compileShop().find(({ proto }) => proto.name === "shop/shop.proto");
const versions = { v1: ServerReflection, v1alpha: ServerReflectionV1alpha } as const;
type Version = keyof typeof versions;

const maxStreams = 3;

function useReflection(version: Version = "v1") {
  const closing = new AbortController();
  const services = createReflectionServices({
    services: shop?.services ?? [],
    files: [file_google_protobuf_any],
    closing: closing.signal,
    maxStreams,
  });
  const transport = createRouterTransport(({ service }) => {
    service(ServerReflection, services.v1);
    service(ServerReflectionV1alpha, services.v1alpha);
  });
  const client = createClient(versions[version] as typeof ServerReflection, transport);
  return { client, close: () => closing.abort() };
}

type Question = { case: string; value: unknown };

async function* toRequests(questions: readonly (Question | undefined)[]) {
  for (const question of questions) {
    yield { host: "shop.example", messageRequest: question ?? { case: undefined } } as never;
  }
}

/** What is answered in one stream: the names of files, numbers, or an error's code. */
async function ask(version: Version, ...questions: (Question | undefined)[]) {
  const answers: unknown[] = [];
  for await (const answer of useReflection(version).client.serverReflectionInfo(toRequests(questions))) {
    expect(answer).toMatchObject({ validHost: "shop.example", originalRequest: { host: "shop.example" } });
    expect(answer.originalRequest?.messageRequest).toMatchObject(questions[answers.length] ?? {});
    const { messageResponse: content } = answer;
    switch (content.case) {
      case "fileDescriptorResponse":
        answers.push(
          content.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name),
        );
        break;
      case "allExtensionNumbersResponse":
        answers.push([content.value.baseTypeName, ...content.value.extensionNumber]);
        break;
      case "listServicesResponse":
        answers.push(content.value.service.map(({ name }) => name));
        break;
      default:
        answers.push(content.value?.errorCode);
    }
  }
  return answers;
}

const descriptorFile = "google/protobuf/descriptor.proto";
const all = ["shop/shop.proto", "shop/order.proto", "shop/options.proto", descriptorFile];
const notFound = Code.NotFound;

const cases: [question: Question, answer: unknown][] = [
  [{ case: "listServices", value: "*" }, ["shop.Orders"]],
  [{ case: "fileByFilename", value: "shop/shop.proto" }, all],
  [{ case: "fileByFilename", value: "shop/order.proto" }, ["shop/order.proto"]],
  [{ case: "fileByFilename", value: descriptorFile }, [descriptorFile]],
  [{ case: "fileByFilename", value: "shop/shop" }, notFound],
  [{ case: "fileContainingSymbol", value: "google.protobuf.Any" }, ["google/protobuf/any.proto"]],
  [{ case: "fileByFilename", value: "" }, notFound],
  [{ case: "fileContainingSymbol", value: "shop.Orders" }, all],
  [{ case: "fileContainingSymbol", value: "shop.Orders.Place" }, all],
  [{ case: "fileContainingSymbol", value: "shop.Order" }, ["shop/order.proto"]],
  [{ case: "fileContainingSymbol", value: "shop.Order.id" }, ["shop/order.proto"]],
  [{ case: "fileContainingSymbol", value: "shop.Order.name" }, ["shop/order.proto"]],
  [{ case: "fileContainingSymbol", value: "shop.Order.Line" }, ["shop/order.proto"]],
  [{ case: "fileContainingSymbol", value: "shop.Order.Line.text" }, ["shop/order.proto"]],
  [{ case: "fileContainingSymbol", value: "shop.Order.State" }, ["shop/order.proto"]],
  [{ case: "fileContainingSymbol", value: "shop.Order.STATE_OPEN" }, ["shop/order.proto"]],
  [{ case: "fileContainingSymbol", value: "shop.SIZE_SMALL" }, ["shop/order.proto"]],
  [{ case: "fileContainingSymbol", value: "shop.early" }, ["shop/options.proto", descriptorFile]],
  [{ case: "fileContainingSymbol", value: "shop" }, notFound],
  [{ case: "fileContainingSymbol", value: "shop.Orders.Steal" }, notFound],
  [{ case: "fileContainingSymbol", value: "constructor" }, notFound],
  [
    {
      case: "fileContainingExtension",
      value: { containingType: "google.protobuf.MethodOptions", extensionNumber: 50_001 },
    },
    ["shop/options.proto", descriptorFile],
  ],
  [
    { case: "fileContainingExtension", value: { containingType: "google.protobuf.MethodOptions", extensionNumber: 1 } },
    notFound,
  ],
  [{ case: "fileContainingExtension", value: { containingType: "shop.Nothing", extensionNumber: 50_001 } }, notFound],
  [
    { case: "allExtensionNumbersOfType", value: "google.protobuf.MethodOptions" },
    ["google.protobuf.MethodOptions", 50_001, 50_002],
  ],
  [{ case: "allExtensionNumbersOfType", value: "shop.Order" }, ["shop.Order"]],
  [{ case: "allExtensionNumbersOfType", value: "shop.Orders" }, notFound],
  [{ case: "allExtensionNumbersOfType", value: "shop.Nothing" }, notFound],
];

test.each(["v1", "v1alpha"] as const)("%s answers every question, each in a stream of its own", async (version) => {
  for (const [question, answer] of cases)
    expect(await ask(version, question), JSON.stringify(question)).toEqual([answer]);
});

test("an error ends no stream, and what a file imports is sent once", async () => {
  const questions = ["shop/options.proto", "nothing.proto", "shop/shop.proto", "shop/shop.proto"];
  expect(await ask("v1", ...questions.map((value) => ({ case: "fileByFilename", value })))).toEqual([
    ["shop/options.proto", descriptorFile],
    notFound,
    ["shop/shop.proto", "shop/order.proto"],
    ["shop/shop.proto"],
  ]);
});

test("the files that are sent make a registry that knows the options", async () => {
  const { client } = useReflection();
  const question = { case: "fileContainingSymbol", value: "shop.Orders" };
  for await (const { messageResponse } of client.serverReflectionInfo(toRequests([question]))) {
    if (messageResponse.case !== "fileDescriptorResponse") expect.fail("there is no file");
    const file = messageResponse.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: file.reverse() }));
    expect(registry.getService("shop.Orders")?.method.place?.input.typeName).toBe("shop.Order");
    expect(
      registry.getExtensionFor(registry.getMessage("google.protobuf.MethodOptions") ?? expect.fail(), 50_001),
    ).toBeDefined();
  }
});

/** Asks and goes on, until `end`. */
function keepAsking(client: ReturnType<typeof useReflection>["client"]) {
  const end = Promise.withResolvers<void>();
  async function* requests() {
    yield* toRequests([{ case: "listServices", value: "" }]);
    await end.promise;
  }
  const answers = client.serverReflectionInfo(requests())[Symbol.asyncIterator]();
  return { next: () => answers.next(), end: end.resolve };
}

const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => expect.fail("it went well"),
    (error) => ConnectError.from(error).code,
  );

test("a request that asks nothing ends the stream", async () => {
  expect(await codeOf(ask("v1", undefined))).toBe(Code.InvalidArgument);
});

test("a stream that asks nothing for a minute ends, and one that goes on does not", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const { next } = keepAsking(useReflection().client);
  expect((await next()).done).toBe(false);
  const last = next();
  let isOver = false;
  void last.then(() => {
    isOver = true;
  });
  await vi.advanceTimersByTimeAsync(59_000);
  expect(isOver).toBe(false);
  await vi.advanceTimersByTimeAsync(2_000);
  expect((await last).done).toBe(true);
});

test("when the server stops, streams end", async () => {
  const { client, close } = useReflection();
  const { next } = keepAsking(client);
  expect((await next()).done).toBe(false);
  const last = next();
  close();
  expect((await last).done).toBe(true);
});

test("there may be so many streams at a time, and one more when one has gone", async () => {
  const { client } = useReflection();
  const streams = Array.from({ length: maxStreams }, () => keepAsking(client));
  for (const { next } of streams) expect((await next()).done).toBe(false);
  expect(await codeOf(keepAsking(client).next())).toBe(Code.ResourceExhausted);
  const [first = expect.fail()] = streams;
  first.end();
  expect((await first.next()).done).toBe(true);
  expect((await keepAsking(client).next()).done).toBe(false);
});
