import { readFile } from "node:fs/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, encodeBinaryHeader } from "@connectrpc/connect";
import {
  type ClientOptions,
  compressionAlgorithms,
  credentials,
  Client as GrpcClient,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { describe, expect, onTestFinished, test } from "vitest";
import { failure } from "../../src/errors.ts";
import { createEngine } from "../../src/http2/engine/engine.ts";
import { createNodeHttp2 } from "../../src/http2/node.ts";
import { type EchoImpl, useGrpcDoor } from "../helpers/grpc-door.ts";
import { type CreateProtocol, until } from "../helpers/http2-server.ts";

const serialize = (value: string) => Buffer.from(toBinary(StringValueSchema, create(StringValueSchema, { value })));
const deserialize = (bytes: Buffer) => fromBinary(StringValueSchema, bytes).value;

const protocols: [name: string, create: CreateProtocol][] = [
  ["node:http2", createNodeHttp2],
  ["the engine", createEngine],
];

describe.each(protocols)("grpc-js over %s", (_, createProtocol) => {
  async function useClient(impl: EchoImpl, options: ClientOptions = {}) {
    const door = await useGrpcDoor(createProtocol, impl);
    const client = new GrpcClient(`127.0.0.1:${door.port}`, credentials.createInsecure(), options);
    onTestFinished(() => client.close());
    return { door, client };
  }

  const say = (client: GrpcClient, text: string, { metadata = new Metadata(), timeoutMs = 60_000 } = {}) => {
    const { promise, resolve } = Promise.withResolvers<{ error: ServiceError | null; value: string | undefined }>();
    const deadline = Date.now() + timeoutMs;
    const call = client.makeUnaryRequest(
      "/test.Echo/Say",
      serialize,
      deserialize,
      text,
      metadata,
      { deadline },
      (error, value) => resolve({ error, value }),
    );
    return { call, outcome: promise };
  };

  test("tries again as the published service config has it, when the answer says", async () => {
    const config = JSON.parse(await readFile(new URL("../../clients/service-config.json", import.meta.url), "utf8"));
    // The methods here are other ones.
    for (const one of config.methodConfig) one.name = [{}];
    const attempts: string[] = [];
    const { client } = await useClient(
      {
        say({ value }, { requestHeader }) {
          attempts.push(requestHeader.get("grpc-previous-rpc-attempts") ?? "0");
          if (attempts.length >= 4) return { value };
          throw failure("NetworkError", "not now", undefined, { retryAfterMs: 1 });
        },
      },
      { "grpc.service_config": JSON.stringify(config) },
    );
    expect(await say(client, "hello").outcome).toEqual({ error: null, value: "hello" });
    expect(attempts).toEqual(["0", "1", "2", "3"]);
  });

  test("does not try again what would be refused again", async () => {
    let attempts = 0;
    const config = await readFile(new URL("../../clients/service-config.json", import.meta.url), "utf8");
    const { client } = await useClient(
      {
        say() {
          attempts++;
          throw failure("StoreFullError", "full");
        },
      },
      { "grpc.service_config": config.replace(/"name": \[.*?\]/s, '"name": [{}]') },
    );
    const { error } = await say(client, "hello").outcome;
    expect(error?.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(attempts).toBe(1);
  });

  test("carries metadata both ways, binary too", async () => {
    const bytes = Buffer.from([0, 1, 2, 255, 254]);
    const { client } = await useClient({
      say({ value }, { requestHeader, responseHeader, responseTrailer }) {
        responseHeader.set("x-text", requestHeader.get("x-text") ?? "");
        responseHeader.set("x-echo-bin", requestHeader.get("x-own-bin") ?? "");
        responseTrailer.set("x-last-bin", encodeBinaryHeader(Uint8Array.of(7)));
        return { value };
      },
    });
    const metadata = new Metadata();
    metadata.set("x-text", "a b");
    metadata.set("x-own-bin", bytes);
    const { call, outcome } = say(client, "hi", { metadata });
    const headers = new Promise<Metadata>((resolve) => call.once("metadata", resolve));
    const last = new Promise<Metadata>((resolve) => call.once("status", ({ metadata }) => resolve(metadata)));
    expect(await outcome).toEqual({ error: null, value: "hi" });
    expect((await headers).get("x-text")).toEqual(["a b"]);
    expect((await headers).get("x-echo-bin")).toEqual([bytes]);
    expect((await last).get("x-last-bin")).toEqual([Buffer.of(7)]);
  });

  test("reads the message of an error as it was", async () => {
    const message = "100 %, é, 日本 😀\n\ttab: a/b?c=d&e";
    const { client } = await useClient({ say: () => Promise.reject(new ConnectError(message, Code.Aborted)) });
    const { error } = await say(client, "hi").outcome;
    expect(error).toMatchObject({ code: status.ABORTED, details: message });
  });

  test.each([10, 50_000])("may compress its messages, here of %d characters", async (length) => {
    const options = { "grpc.default_compression_algorithm": compressionAlgorithms.gzip };
    const { client } = await useClient({ say: async ({ value }) => ({ value: String(value.length) }) }, options);
    expect(await say(client, "x".repeat(length)).outcome).toEqual({ error: null, value: String(length) });
  });

  test("is told that another compression is not taken", async () => {
    const options = { "grpc.default_compression_algorithm": compressionAlgorithms.deflate };
    const { client } = await useClient({ say: async ({ value }) => ({ value }) }, options);
    expect((await say(client, "x").outcome).error).toMatchObject({ code: status.UNIMPLEMENTED });
  });

  test("has its deadline kept, and its cancellation told", async () => {
    const signals: AbortSignal[] = [];
    const { client, door } = await useClient({
      say(_request, { signal }) {
        signals.push(signal);
        return new Promise(() => {});
      },
    });
    expect((await say(client, "slow", { timeoutMs: 50 }).outcome).error?.code).toBe(status.DEADLINE_EXCEEDED);
    // On a busy machine it may have passed before the call was on its way.
    const late = signals.length;
    const { call, outcome } = say(client, "slow");
    await until(() => expect(signals).toHaveLength(late + 1));
    call.cancel();
    expect((await outcome).error?.code).toBe(status.CANCELLED);
    await until(() => expect(signals.every(({ aborted }) => aborted)).toBe(true));
    expect(door.events).toHaveLength(signals.length);
  });

  test("talks in both directions at once", async () => {
    const { client } = await useClient({
      async *talk(requests) {
        for await (const { value } of requests) yield { value: `${value}!` };
      },
    });
    const call = client.makeBidiStreamRequest("/test.Echo/Talk", serialize, deserialize);
    const answers = call[Symbol.asyncIterator]();
    for (const text of ["one", "two", "three"]) {
      call.write(text);
      expect(await answers.next()).toEqual({ done: false, value: `${text}!` });
    }
    call.end();
    expect((await answers.next()).done).toBe(true);
  });
});
