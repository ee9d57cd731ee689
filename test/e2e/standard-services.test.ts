import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { credentials, loadPackageDefinition, type ServiceError } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { describe, expect, onTestFinished, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../src/gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../../src/gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1alpha } from "../../src/gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { startTestServer, useServer } from "../helpers/server.ts";

const server = useServer();
const root = resolve(import.meta.dirname, "../..");
const run = promisify(execFile);

const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => expect.fail("it went well"),
    (error) => ConnectError.from(error).code,
  );

const transports = [
  ["gRPC", (baseUrl: string) => createGrpcTransport({ baseUrl })],
  ["gRPC with JSON", (baseUrl: string) => createGrpcTransport({ baseUrl, useBinaryFormat: false })],
  ["gRPC-Web", (baseUrl: string) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" })],
  ["Connect over HTTP/1.1", (baseUrl: string) => createConnectTransport({ baseUrl, httpVersion: "1.1" })],
  ["Connect over HTTP/2", (baseUrl: string) => createConnectTransport({ baseUrl, httpVersion: "2" })],
] as const;

describe.each(transports)("health over %s, without a token", (_, connect) => {
  test("of the server and of each service", async () => {
    const health = createClient(Health, connect(server.url));
    const { statuses } = await health.list({});
    expect(Object.keys(statuses)).toContain("mustreach.delivery.v1.DeliveryService");
    for (const service of ["", ...Object.keys(statuses)]) {
      expect(await health.check({ service })).toMatchObject({ status: Status.SERVING });
    }
    expect(await codeOf(health.check({ service: "mustreach.msg.v1.Msg" }))).toBe(Code.NotFound);
  });

  test("and its changes", async () => {
    const watch = createClient(Health, connect(server.url)).watch({})[Symbol.asyncIterator]();
    expect((await watch.next()).value).toMatchObject({ status: Status.SERVING });
    await watch.return?.();
  });
});

/** The statuses that a foreign client's Watch is told, and how its stream ends. */
function watchForeign(url: string) {
  const definition = loadSync("grpc/health/v1/health.proto", { includeDirs: [resolve(root, "proto")], enums: String });
  // biome-ignore lint/suspicious/noExplicitAny: what the loader makes has no types
  const { Health: Client } = (loadPackageDefinition(definition) as any).grpc.health.v1;
  const client = new Client(new URL(url).host, credentials.createInsecure());
  const told: string[] = [];
  const ended = Promise.withResolvers<ServiceError>();
  const stream = client.watch({ service: "mustreach.msg.v1.MsgService" });
  stream.on("data", ({ status }: { status: string }) => told.push(status));
  stream.on("error", ended.resolve);
  onTestFinished(() => client.close());
  return { told, ended: ended.promise };
}

test("Watch tells that the broker is away, that it is back, and that the service stops", async () => {
  const own = await startTestServer();
  let isStopped = false;
  onTestFinished(async () => {
    if (!isStopped) await own.stop();
  });
  const { told, ended } = watchForeign(own.url);
  await expect.poll(() => told).toEqual(["SERVING"]);
  process.kill(own.brokerPid() ?? expect.fail("there is no broker"), "SIGKILL");
  await expect.poll(() => told).toEqual(["SERVING", "NOT_SERVING"]);
  await expect.poll(() => told).toEqual(["SERVING", "NOT_SERVING", "SERVING"]);
  isStopped = true;
  await own.stop();
  expect((await ended).code).toBe(Code.Unavailable);
  expect(told).toEqual(["SERVING", "NOT_SERVING", "SERVING", "NOT_SERVING"]);
});

/** `buf curl` without a schema: what it knows, the service has told it. */
async function bufCurl(...args: string[]) {
  const { stdout } = await run(resolve(root, "node_modules/.bin/buf"), ["curl", "--reflect", ...args]);
  return stdout;
}

describe.each([
  ["grpc", "grpc-v1"],
  ["grpc", "grpc-v1alpha"],
  ["connect", "grpc-v1"],
])("buf curl over %s, with the schema of %s", (protocol, reflection) => {
  const flags = ["--protocol", protocol, "--reflect-protocol", reflection, "--http2-prior-knowledge"];

  test("lists the methods", async () => {
    const methods = (await bufCurl(...flags, "--list-methods", server.url)).trim().split("\n");
    expect(methods).toContain("mustreach.msg.v1.MsgService/SendBusinessNotification");
    expect(methods).toContain("grpc.health.v1.Health/Watch");
  });

  test("sends", async () => {
    const notification = { sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "{}", reliabilityLevel: 2 };
    const call = ["--data", JSON.stringify(notification), "--header", `token: ${await server.adminToken()}`];
    const url = `${server.url}/mustreach.msg.v1.MsgService/SendBusinessNotification`;
    expect(JSON.parse(await bufCurl(...flags, ...call, url))).toMatchObject({ durability: "DURABILITY_FSYNCED" });
  });
});

test("with MUSTREACH_REFLECTION=false there is none, and health is there", async () => {
  const own = await startTestServer({ REFLECTION: "false" });
  onTestFinished(own.stop);
  const transport = createGrpcTransport({ baseUrl: own.url });
  async function* requests() {
    yield { messageRequest: { case: "listServices", value: "" } } as const;
  }
  for (const service of [ServerReflection, ServerReflectionV1alpha]) {
    const client = createClient(service as typeof ServerReflection, transport);
    expect(await codeOf(client.serverReflectionInfo(requests())[Symbol.asyncIterator]().next())).toBe(
      Code.Unimplemented,
    );
  }
  expect(await createClient(Health, transport).check({})).toMatchObject({ status: Status.SERVING });
});
