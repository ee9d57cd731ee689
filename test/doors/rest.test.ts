import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { brotliCompressSync, gzipSync } from "node:zlib";
import {
  create,
  createFileRegistry,
  type DescService,
  type Message,
  type MessageInitShape,
  setExtension,
} from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  MethodOptionsSchema,
} from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createServiceImplSpec, type HandlerContext } from "@connectrpc/connect";
import { afterEach, describe, expect, test } from "vitest";
import { type Caller, callerKey } from "../../src/auth/caller.ts";
import { createBodyLimits } from "../../src/calls/body.ts";
import { createRest, type RestOptions } from "../../src/doors/rest.ts";
import { failure, toWireError } from "../../src/errors.ts";
import { file_google_api_annotations, http } from "../../src/gen/google/api/annotations_pb.ts";
import { HttpRuleSchema } from "../../src/gen/google/api/http_pb.ts";
import { createListener } from "../../src/http/listener.ts";
import { deaf } from "../../src/http/receiver.ts";
import { readTarget } from "../../src/http/target.ts";
import { createLog } from "../../src/observe/log.ts";

type Rule = MessageInitShape<typeof HttpRuleSchema>;

interface MethodOptions {
  readonly name?: string;
  /** The method's google.api.http annotation; none if absent. */
  readonly rule?: Rule;
  readonly serverStreaming?: boolean;
  readonly clientStreaming?: boolean;
}

/** Compiles `service Clock { rpc <name>(Ask) returns (Tell) { option (google.api.http) = <rule>; } … }`. */
function compileService(...methods: MethodOptions[]): DescService {
  const field = (name: string, type: FieldDescriptorProto_Type) => ({
    name,
    jsonName: name,
    number: 1,
    type,
    label: FieldDescriptorProto_Label.OPTIONAL,
  });
  const file = create(FileDescriptorProtoSchema, {
    name: "clock.proto",
    package: "test",
    syntax: "proto3",
    dependency: ["google/api/annotations.proto"],
    messageType: [
      { name: "Ask", field: [field("zone", FieldDescriptorProto_Type.STRING)] },
      { name: "Tell", field: [field("time", FieldDescriptorProto_Type.INT64)] },
    ],
    service: [
      {
        name: "Clock",
        method: methods.map(({ name = "GetTime", rule, clientStreaming = false, serverStreaming = false }) => {
          const options = create(MethodOptionsSchema);
          if (rule !== undefined) setExtension(options, http, create(HttpRuleSchema, rule));
          return { name, inputType: ".test.Ask", outputType: ".test.Tell", options, clientStreaming, serverStreaming };
        }),
      },
    ],
  });
  const registry = createFileRegistry(file, (name) =>
    name === file_google_api_annotations.proto.name ? file_google_api_annotations : undefined,
  );
  const service = registry.getService("test.Clock");
  if (service === undefined) throw new Error("the service did not compile");
  return service;
}

const post = (path: string): Rule => ({ pattern: { case: "post", value: path }, body: "*" });

const admin: Caller = { userId: "imAdmin", platformId: 10, isAdmin: true, issuedAtMs: 0, expiresAtMs: 1 };
const log = createLog("silent");
const defaults: RestOptions = {
  services: [],
  log,
  authenticate: async ({ values }) => {
    values.set(callerKey, admin);
  },
  bodyLimits: createBodyLimits({ maxBytes: 64 }),
  callLog: {
    begin: () => ({ open() {}, succeed() {}, fail: toWireError }),
    refuse: (_, thrown) => toWireError(thrown),
  },
};

type GetTime = (request: Message, context: HandlerContext) => unknown;

const implement = (service: DescService, methods: object) => createServiceImplSpec(service, methods as never);

const headers = { operationID: "op-1" };

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** Serves `service Clock` with a method at /clock/get_time, on a real port. */
async function useRest(getTime: GetTime, options: Partial<RestOptions> = {}) {
  const services = [implement(compileService({ rule: post("/clock/get_time") }), { getTime })];
  const deps = { ...defaults, services, ...options };
  const rest = createRest(deps);
  const listener = createListener({
    log,
    accept(exchange) {
      const receiver = rest(exchange, readTarget(exchange.headers));
      if (receiver === undefined) exchange.answer([":status", "404"], Buffer.from("not ours"));
      return receiver ?? deaf;
    },
  });
  const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  cleanups.push(() => listener.drain(0));
  return {
    port,
    async ask(path = "/clock/get_time", init: RequestInit = {}) {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: "POST", body: "{}", headers, ...init });
      return { status: response.status, text: await response.text() };
    },
  };
}

describe("an annotation that cannot be served is refused when the service starts", () => {
  const refused: [what: string, method: MethodOptions][] = [
    ["get", { rule: { pattern: { case: "get", value: "/clock" }, body: "*" } }],
    ["put", { rule: { pattern: { case: "put", value: "/clock" }, body: "*" } }],
    ["delete", { rule: { pattern: { case: "delete", value: "/clock" }, body: "*" } }],
    ["patch", { rule: { pattern: { case: "patch", value: "/clock" }, body: "*" } }],
    ["a custom verb", { rule: { pattern: { case: "custom", value: { kind: "HEAD", path: "/clock" } }, body: "*" } }],
    ["no pattern", { rule: { body: "*" } }],
    ["no body", { rule: { pattern: { case: "post", value: "/clock" } } }],
    ["one field as the body", { rule: { pattern: { case: "post", value: "/clock" }, body: "zone" } }],
    ["a path with a variable", { rule: post("/clock/{zone}") }],
    ["a path with a wildcard", { rule: post("/clock/*") }],
    ["a path with a wildcard over segments", { rule: post("/clock/**") }],
    ["a path that is not absolute", { rule: post("clock") }],
    ["an empty path", { rule: post("") }],
    [
      "additional bindings",
      { rule: { ...post("/clock"), additionalBindings: [create(HttpRuleSchema, post("/time"))] } },
    ],
    ["a server stream", { rule: post("/clock"), serverStreaming: true }],
    ["a client stream", { rule: post("/clock"), clientStreaming: true }],
  ];
  test.each(refused)("%s", (_, method) => {
    const services = [implement(compileService(method), { getTime: () => ({}) })];
    expect(() => createRest({ ...defaults, services })).toThrow(/test\.Clock\.GetTime/);
  });

  test("two methods at one path", () => {
    const service = compileService({ rule: post("/clock") }, { name: "SetTime", rule: post("/clock") });
    const services = [implement(service, { getTime: () => ({}), setTime: () => ({}) })];
    expect(() => createRest({ ...defaults, services })).toThrow("/clock");
  });

  test("a method without an annotation is no matter, and has no path", async () => {
    const services = [implement(compileService({}), { getTime: () => ({}) })];
    expect(() => createRest({ ...defaults, services })).not.toThrow();
  });
});

test("an annotated method answers POST at its path, with the 64-bit integer as a number", async () => {
  const { ask } = await useRest(() => ({ time: 1_679_558_586_210n }));
  expect(await ask()).toEqual({
    status: 200,
    text: '{"errCode":0,"errMsg":"","errDlt":"","data":{"time":1679558586210}}',
  });
});

test("a zero is written, not left out", async () => {
  const { ask } = await useRest(() => ({ time: 0n }));
  expect((await ask()).text).toBe('{"errCode":0,"errMsg":"","errDlt":"","data":{"time":0}}');
});

test("a query does not matter; another path and another verb are not ours", async () => {
  const { ask } = await useRest(() => ({ time: 1n }));
  expect((await ask("/clock/get_time?x=1")).status).toBe(200);
  for (const path of ["/clock/get_time/", "/clock/get_tim", "/clock/GET_TIME", "//clock/get_time"]) {
    expect(await ask(path), path).toEqual({ status: 404, text: "not ours" });
  }
  expect((await ask(undefined, { method: "PUT" })).text).toBe("not ours");
});

test("the log sees the call before its method, and its end", async () => {
  const seen: string[] = [];
  const end = { open() {}, succeed: () => void seen.push("answered"), fail: toWireError };
  const begin = ({ rpc }: { rpc: string }) => {
    seen.push(rpc);
    return end;
  };
  const getTime = () => {
    seen.push("called");
    return { time: 1n };
  };
  const { ask } = await useRest(getTime, { callLog: { ...defaults.callLog, begin } });
  await ask();
  expect(seen).toEqual(["test.Clock/GetTime", "called", "answered"]);
});

describe("errors", () => {
  test("a business error is HTTP 200 with the envelope, and without data", async () => {
    const { ask } = await useRest(() => {
      throw failure("RecordNotFoundError", "no such zone");
    });
    expect(await ask()).toEqual({
      status: 200,
      text: '{"errCode":1004,"errMsg":"RecordNotFoundError","errDlt":"no such zone"}',
    });
  });

  test.each<[what: string, thrown: unknown]>([
    ["an Error", new Error("secret inside")],
    ["a text", "secret inside"],
    ["Connect's internal error", new ConnectError("secret inside", Code.Internal)],
  ])("%s is an internal error, of which nothing is told", async (_, thrown) => {
    const { ask } = await useRest(() => Promise.reject(thrown));
    const { text } = await ask();
    expect(text).toBe('{"errCode":500,"errMsg":"ServerInternalError","errDlt":"internal error"}');
  });

  test("a body that does not parse is 200 where OpenIM has it so, one that is too large 413", async () => {
    const { ask } = await useRest(() => ({ time: 1n }));
    const malformed = await ask(undefined, { body: "{" });
    expect(malformed.status).toBe(200);
    expect(JSON.parse(malformed.text)).toMatchObject({ errCode: 1001, errMsg: "ArgsError" });
    const tooLarge = await ask(undefined, { body: `{"zone":"${"x".repeat(64)}"}` });
    expect(tooLarge.status).toBe(413);
    expect(JSON.parse(tooLarge.text)).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining("64") });
  });
});

test("the gate is asked before the body has come, and its refusal is the answer", async () => {
  let asked = () => {};
  const whenAsked = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const authenticate: RestOptions["authenticate"] = async () => {
    asked();
    throw failure("TokenExpiredError", "the token has expired");
  };
  const { port } = await useRest(() => ({ time: 1n }), { authenticate });
  const request = httpRequest({ port, method: "POST", path: "/clock/get_time", headers });
  cleanups.push(() => request.destroy());
  const answered = once(request, "response");
  request.flushHeaders();
  await whenAsked;
  const [response] = (await answered) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  expect(JSON.parse(Buffer.concat(chunks).toString())).toMatchObject({ errCode: 1501 });
});

test("a caller that goes away aborts the call", async () => {
  let called = (_: AbortSignal) => {};
  const whenCalled = new Promise<AbortSignal>((resolve) => {
    called = resolve;
  });
  const { port } = await useRest((_, context) => {
    called(context.signal);
    return new Promise(() => {});
  });
  const socket = connect(port, "127.0.0.1");
  socket.write("POST /clock/get_time HTTP/1.1\r\nHost: x\r\noperationID: op-1\r\nContent-Length: 2\r\n\r\n{}");
  const signal = await whenCalled;
  expect(signal.aborted).toBe(false);
  const aborted = once(signal, "abort");
  // With FIN alone it would still wait for its answer.
  socket.resetAndDestroy();
  await aborted;
});

describe("a body that is compressed", () => {
  const gzip = { ...headers, "content-encoding": "gzip" };
  const toBody = (length: number) => Buffer.from(JSON.stringify({ zone: "x".repeat(length - '{"zone":""}'.length) }));

  async function useClock() {
    const zones: unknown[] = [];
    const rest = await useRest(
      (request) => {
        zones.push(Reflect.get(request, "zone"));
        return {};
      },
      { bodyLimits: createBodyLimits({ maxBytes: 100_000 }) },
    );
    const ask = (body: Buffer, encoded: Record<string, string> = gzip) =>
      rest.ask("/clock/get_time", { body: Uint8Array.from(body), headers: encoded });
    return { ask, zones };
  }

  test.each([20, 16_385, 100_000])("by gzip is taken, of %d bytes", async (length) => {
    const { ask, zones } = await useClock();
    expect((await ask(gzipSync(toBody(length)))).status).toBe(200);
    expect(zones).toEqual(["x".repeat(length - 11)]);
  });

  test("has the limit of one that is not, and the largest at once are taken one after the other", async () => {
    const { ask, zones } = await useClock();
    const bodies = Array.from({ length: 20 }, () => gzipSync(toBody(100_000)));
    expect((await Promise.all(bodies.map((body) => ask(body)))).map(({ status }) => status)).toEqual(
      Array(20).fill(200),
    );
    const { status, text } = await ask(gzipSync(toBody(100_001)));
    expect([status, JSON.parse(text)]).toMatchObject([413, { errCode: 1001 }]);
    expect(zones).toHaveLength(20);
  });

  test.each([
    ["is none", toBody(50)],
    ["has another checksum", gzipSync(toBody(50)).map((byte, i, all) => (i === all.length - 8 ? byte ^ 1 : byte))],
    ["is more than it says", Buffer.concat([gzipSync(toBody(90_000)), gzipSync(toBody(50))])],
  ])("by gzip that %s is refused", async (_, body) => {
    const { ask, zones } = await useClock();
    const { status, text } = await ask(Buffer.from(body));
    expect([status, JSON.parse(text)]).toMatchObject([400, { errCode: 1001, errDlt: "the body is not one gzip" }]);
    expect(zones).toEqual([]);
  });

  test("otherwise is 415, before it is read", async () => {
    const { ask, zones } = await useClock();
    const { status, text } = await ask(brotliCompressSync(toBody(50)), { ...headers, "content-encoding": "br" });
    const errDlt = "of Content-Encodings only gzip is taken";
    expect([status, JSON.parse(text)]).toMatchObject([415, { errCode: 1001, errDlt }]);
    expect((await ask(toBody(50), { ...headers, "content-encoding": "identity" })).status).toBe(200);
    expect(zones).toHaveLength(1);
  });
});
