import { once } from "node:events";
import http2 from "node:http2";
import { connect } from "node:net";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { credentials, Client as GrpcClient, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ ACCESS_LOG: "all" });
let admin: string;
beforeAll(async () => {
  admin = await server.adminToken();
});

const sendPath = "/mustreach.msg.v1.MsgService/SendBusinessNotification";
const send = { sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "{}", reliabilityLevel: 2 };

async function callGrpc(path: string, bytes: Buffer, headers: Record<string, string> = {}): Promise<ServiceError> {
  const client = new GrpcClient(server.url.replace("http://", ""), credentials.createInsecure());
  const metadata = new Metadata();
  for (const [name, value] of Object.entries({ token: admin, ...headers })) metadata.set(name, value);
  const same = (value: Buffer) => value;
  return new Promise<ServiceError>((resolve, reject) => {
    client.makeUnaryRequest(path, same, same, bytes, metadata, (error) =>
      error === null ? reject(new Error("it was accepted")) : resolve(error),
    );
  }).finally(() => client.close());
}

const post = (path: string, body: string | Buffer<ArrayBuffer>, headers: Record<string, string> = {}) =>
  fetch(`${server.url}${path}`, { method: "POST", headers: { token: admin, ...headers }, body });

/** One HTTP/1.1 exchange, written by hand. */
async function exchange(text: string): Promise<string> {
  const socket = connect(server.port, "127.0.0.1");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk)).on("error", () => {});
  socket.write(text);
  await once(socket, "close");
  return Buffer.concat(chunks).toString();
}

describe("bytes that are no message are 1001, and mostly invalid_argument", () => {
  const garbage = Buffer.from("hello, I am no protobuf");

  test("over gRPC", async () => {
    const error = await callGrpc(sendPath, garbage);
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect(error.metadata.get("grpc-status-details-bin")).toHaveLength(1);
  });

  test.each([
    ["application/proto", garbage],
    ["application/json", Buffer.from("{")],
  ])("over Connect, %s", async (type, body) => {
    const response = await post(sendPath, body, { "content-type": type });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      code: "invalid_argument",
      details: [{ type: "google.rpc.ErrorInfo" }],
    });
  });

  test("a compressed flag without an encoding, over gRPC-Web", async () => {
    const response = await post(sendPath, Buffer.from([1, 0, 0, 0, 0]), {
      "content-type": "application/grpc-web+proto",
    });
    expect(response.status).toBe(200);
    expect(await response.text()).toMatch(/grpc-status: ?13\b/);
  });
});

describe("a method that does not exist is unimplemented", () => {
  test.each(["/mustreach.msg.v1.MsgService/Nothing", "/other.Service/Nothing"])("over gRPC: %s", async (path) => {
    expect((await callGrpc(path, Buffer.alloc(0))).code).toBe(status.UNIMPLEMENTED);
  });

  test("over Connect, with HTTP 404", async () => {
    const headers = { "content-type": "application/json", "connect-protocol-version": "1" };
    const response = await post("/mustreach.msg.v1.MsgService/Nothing", "{}", headers);
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({
      code: "unimplemented",
      message: "ArgsError: there is no method mustreach.msg.v1.MsgService/Nothing",
      details: expect.anything(),
    });
  });
});

describe("a host that is none", () => {
  test.each(["%", "", "[::::", "a b"])("Host: %s is 400, in the caller's words", async (host) => {
    const request = (path: string) =>
      `POST ${path} HTTP/1.1\r\nHost: ${host}\r\noperationID: x\r\ntoken: ${admin}\r\nConnection: close\r\n` +
      "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    const overRest = await exchange(request("/msg/send_business_notification"));
    expect(overRest).toMatch(/^HTTP\/1.1 400 /);
    expect(overRest).toContain('"errCode":1001');
    const overConnect = await exchange(request(sendPath));
    expect(overConnect).toMatch(/^HTTP\/1.1 400 /);
    expect(overConnect).toContain("invalid_argument");
  });

  test(":authority over HTTP/2", async () => {
    const session = http2.connect(server.url);
    const headers = { ":authority": "[::::", "content-type": "application/grpc", te: "trailers", token: admin };
    const stream = session.request({ ":method": "POST", ":path": sendPath, ...headers });
    stream.resume().end(Buffer.alloc(5));
    // gRPC's Trailers-Only.
    const [answered] = await once(stream, "response");
    session.close();
    expect(answered["grpc-status"]).toBe("3");
  });

  test("a target in absolute form is served", async () => {
    const host = `127.0.0.1:${server.port}`;
    const answer = await exchange(
      `GET http://${host}/healthz?x HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1.1 200 /);
  });
});

test.each(["/healthz", "/readyz"])("HEAD %s, and a query, are answered", async (path) => {
  const head = await fetch(`${server.url}${path}?probe=1`, { method: "HEAD" });
  expect([head.status, await head.text()]).toEqual([200, ""]);
  expect((await fetch(`${server.url}${path}?probe=1`)).status).toBe(200);
});

describe("Idempotency-Key", () => {
  test("is the clientMsgID of a send that has none, in quotes or bare", async () => {
    const path = "/msg/send_business_notification";
    const first = await server.post(path, send, admin, { "idempotency-key": '"key-1"' });
    expect(first.json.data).toMatchObject({ clientMsgID: "key-1" });
    const again = await server.post(path, send, admin, { "idempotency-key": "key-1" });
    expect(again.json).toEqual(first.json);
    const same = await server.post(path, { ...send, clientMsgID: "key-1" }, admin, { "idempotency-key": "key-1" });
    expect(same.json).toEqual(first.json);
  });

  test("is it over gRPC, too, as metadata", async () => {
    const msg = createClient(MsgService, createGrpcTransport({ baseUrl: server.url }));
    const request = { sendUserId: "imAdmin", recvUserId: "alice", key: "k", data: "{}", reliabilityLevel: 2 };
    const headers = { token: admin, "idempotency-key": "key-2" };
    const first = await msg.sendBusinessNotification(request, { headers });
    expect(first.clientMsgId).toBe("key-2");
    expect(await msg.sendBusinessNotification(request, { headers })).toEqual(first);
    const other = { ...request, clientMsgId: "other" };
    const error = await msg.sendBusinessNotification(other, { headers }).catch(ConnectError.from);
    expect(error).toMatchObject({ code: Code.InvalidArgument });
  });

  test("that differs from it is 1001", async () => {
    const body = { ...send, clientMsgID: "a" };
    const { json } = await server.post("/msg/send_business_notification", body, admin, { "idempotency-key": "b" });
    expect(json).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining("clientMsgID") });
  });
});

test("refused calls are logged once, none at level error, with their peer", async () => {
  const refused = async (operationID: string, call: (id: Record<string, string>) => Promise<unknown>) => {
    await call({ operationID }).catch(ConnectError.from);
    const lines = server.log.filter((line) => line.operationID === operationID);
    expect(lines, operationID).toMatchObject([{ level: "info", msg: "call refused", peer: "127.0.0.1" }]);
  };
  const path = "/msg/send_business_notification";
  await refused("token", (id) => post(path, JSON.stringify(send), { ...id, token: "bad" }));
  await refused("bind", (id) => post(path, "{", id));
  await refused("parse", (id) => post("/auth/parse_token", '{"token":"bad"}', id));
  await refused("grpc", (id) => callGrpc(sendPath, Buffer.from("no message"), id).then(() => {}));
  await refused("grpc-token", (id) => callGrpc(sendPath, Buffer.alloc(0), { ...id, token: "bad" }).then(() => {}));
});

test("refused calls are counted, by method and code", async () => {
  const counted = async (rpc: string, errCode: number) => {
    const text = await (await fetch(`${server.adminUrl}/metrics`)).text();
    const line = text.split("\n").find((one) => {
      return (
        /_duration_seconds_count\{/.test(one) && one.includes(`rpc="${rpc}"`) && one.includes(`err_code="${errCode}"`)
      );
    });
    return Number(line?.split(" ").at(-1) ?? 0);
  };
  const method = "mustreach.msg.v1.MsgService/RecallBusinessNotification";
  const before = await Promise.all([counted(method, 1503), counted(method, 1001)]);
  const path = "/msg/recall_business_notification";
  await post(path, "{}", { operationID: "count", token: "bad" });
  await post(path, "{", { operationID: "count" });
  await callGrpc(`/${method}`, Buffer.from("no message"));
  const expected = [(before[0] ?? 0) + 1, (before[1] ?? 0) + 2];
  // The page is made once a second.
  await expect
    .poll(() => Promise.all([counted(method, 1503), counted(method, 1001)]), { interval: 200 })
    .toEqual(expected);
});

afterAll(() => {
  expect(server.log.filter(({ level }) => level === "error")).toEqual([]);
});
