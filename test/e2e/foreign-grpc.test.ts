import type { ClientReadableStream, ServiceClientConstructor } from "@grpc/grpc-js";
import { type Client, credentials, loadPackageDefinition, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { testSecret, useServer } from "../helpers/server.ts";

// What a client in another language has: the .proto files of the project.
const files = ["msg/v1/msg", "delivery/v1/delivery", "auth/v1/auth"].map((file) => `mustreach/${file}.proto`);
const definitions = loadSync([...files, "google/rpc/status.proto", "google/rpc/error_details.proto"], {
  includeDirs: ["proto"],
  longs: String,
  enums: String,
  oneofs: true,
  defaults: true,
});

const server = useServer();
let msg: Client;
let delivery: Client;
let auth: Client;
const streams: ClientReadableStream<Event>[] = [];

beforeAll(() => {
  const loaded = loadPackageDefinition(definitions) as unknown as {
    mustreach: Record<"msg" | "delivery" | "auth", { v1: Record<string, ServiceClientConstructor> }>;
  };
  const connect = (room: "msg" | "delivery" | "auth", name: string): Client => {
    const Stub = loaded.mustreach[room].v1[name] ?? expect.fail(`there is no ${name}`);
    return new Stub(`127.0.0.1:${server.port}`, credentials.createInsecure());
  };
  msg = connect("msg", "MsgService");
  delivery = connect("delivery", "DeliveryService");
  auth = connect("auth", "AuthService");
  return () => {
    for (const client of [msg, delivery, auth]) client.close();
  };
});
afterEach(() => {
  for (const stream of streams.splice(0)) stream.cancel();
});

/** One event as proto-loader makes it. */
interface Event {
  readonly event: string;
  readonly ready?: { resumeSequence: string; pending: string; deviceId: string };
  readonly notification?: Record<string, unknown> & { sequence: string; data: string };
  readonly [name: string]: unknown;
}

function toMetadata(headers: Record<string, string>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return metadata;
}

/** Calls a method of a stub by its name, as written in the proto. */
function call(client: Client, method: string, request: object, headers: Record<string, string> = {}) {
  return new Promise<Record<string, unknown>>((resolve, reject) => {
    const stub = Reflect.get(client, method) as (...args: unknown[]) => void;
    stub.call(client, request, toMetadata(headers), (error: ServiceError | null, response: Record<string, unknown>) =>
      error === null ? resolve(response) : reject(error),
    );
  });
}

function subscribe(request: object, headers: Record<string, string>) {
  const stub = Reflect.get(delivery, "Subscribe") as (...args: unknown[]) => ClientReadableStream<Event>;
  const stream = stub.call(delivery, request, toMetadata(headers));
  streams.push(stream);
  const events = stream[Symbol.asyncIterator]() as AsyncIterator<Event>;
  return { next: async (): Promise<Event> => (await events.next()).value, cancel: () => stream.cancel() };
}

async function failureOf(calling: Promise<unknown>): Promise<ServiceError> {
  return calling.then(
    () => expect.fail("it was accepted"),
    (error: ServiceError) => error,
  );
}

/** Reads google.rpc.Status and google.rpc.ErrorInfo as their .proto files describe them. */
function readDetails(error: ServiceError) {
  const [trailer] = error.metadata.get("grpc-status-details-bin");
  const decode = (type: string, bytes: Uint8Array): Record<string, unknown> => {
    const definition = definitions[type];
    if (definition === undefined || !("deserialize" in definition) || typeof definition.deserialize !== "function") {
      return expect.fail(`${type} is in no proto`);
    }
    return { ...definition.deserialize(Buffer.from(bytes)) };
  };
  const { code, message, details } = decode("google.rpc.Status", trailer as Buffer);
  return {
    code,
    message,
    details: (details as { type_url: string; value: Uint8Array }[]).map(({ type_url, value }) => ({
      type: type_url,
      ...decode(type_url.split("/").at(-1) ?? "", value),
    })),
  };
}

let made = 0;
let user: string;
let userHeaders: Record<string, string>;
let adminHeaders: Record<string, string>;

beforeEach(async () => {
  user = `user-${++made}`;
  userHeaders = { token: await server.userToken(user) };
  adminHeaders = { token: await server.adminToken() };
});

const send = (change: object = {}, headers = adminHeaders) =>
  call(
    msg,
    "SendBusinessNotification",
    { sendUserId: "imAdmin", recvUserId: user, key: "order.paid", data: "{}", reliabilityLevel: 2, ...change },
    headers,
  );

test("it sends, subscribes and acknowledges", async () => {
  const data = `"quotes" \\ \u0000 \ufeff 😀 日本`;
  const accepted = await send({ data, clientMsgId: `own-${user}` });
  expect(accepted).toEqual({
    serverMsgId: expect.stringMatching(/^[0-9a-f]{32}$/),
    clientMsgId: `own-${user}`,
    sendTime: expect.stringMatching(/^\d{13}$/),
    durability: "DURABILITY_FSYNCED",
  });

  const session = subscribe({ deviceId: "phone", window: 10 }, userHeaders);
  expect(await session.next()).toMatchObject({
    event: "ready",
    ready: { resumeSequence: "0", pending: "1", deviceId: "phone" },
  });
  const { event, notification } = await session.next();
  expect(event).toBe("notification");
  const { serverMsgId, clientMsgId, sendTime } = accepted;
  expect(notification).toMatchObject({
    serverMsgId,
    clientMsgId,
    sendTime,
    sendUserId: "imAdmin",
    recvUserId: user,
    key: "order.paid",
    data,
    reliabilityLevel: 2,
  });
  const sequence = notification?.sequence;
  expect(Number(sequence)).toBeGreaterThan(0);
  expect(await call(delivery, "Ack", { deviceId: "phone", sequence }, userHeaders)).toEqual({ sequence });

  session.cancel();
  const resumed = subscribe({ deviceId: "phone" }, userHeaders);
  expect(await resumed.next()).toMatchObject({ ready: { resumeSequence: sequence, pending: "0" } });
  await send({ reliabilityLevel: 1, data: "pushed" });
  expect(await resumed.next()).toMatchObject({ notification: { data: "pushed", sequence: "0", reliabilityLevel: 1 } });
});

test("what it does not acknowledge comes again", async () => {
  await send({ data: "first" });
  await send({ data: "second" });
  for (let n = 0; n < 2; n++) {
    const session = subscribe({ deviceId: "phone" }, userHeaders);
    await session.next();
    expect(await session.next()).toMatchObject({ notification: { data: "first" } });
    expect(await session.next()).toMatchObject({ notification: { data: "second" } });
    session.cancel();
  }
});

test("it starts where it asks to", async () => {
  await send({ data: "old" });
  const fresh = subscribe({ deviceId: "new", start: "START_NEW" }, userHeaders);
  expect(await fresh.next()).toMatchObject({ ready: { pending: "0" } });
  await send({ data: "new" });
  const { notification } = await fresh.next();
  expect(notification).toMatchObject({ data: "new" });
  const after = subscribe({ deviceId: "other", afterSequence: notification?.sequence }, userHeaders);
  expect(await after.next()).toMatchObject({ ready: { resumeSequence: notification?.sequence, pending: "0" } });
});

test("it gets, reads and revokes tokens", async () => {
  const admin = await call(auth, "GetAdminToken", { secret: testSecret, userId: "imAdmin" });
  expect(admin).toEqual({ token: expect.stringMatching(/^eyJ/), expireTimeSeconds: "7776000" });
  const headers = { authorization: `Bearer ${admin.token}` };
  const { token } = await call(auth, "GetUserToken", { userId: user, platformId: 5 }, headers);
  expect(await call(auth, "ParseToken", { token })).toMatchObject({ userId: user, platformId: 5 });
  const session = subscribe({}, { token: String(token) });
  expect(await session.next()).toMatchObject({ ready: { deviceId: "Web" } });
  expect(await call(auth, "ForceLogout", { userId: user, platformId: 5 }, headers)).toEqual({});
  const ended = await failureOf(session.next());
  expect(ended.code).toBe(status.UNAUTHENTICATED);
  expect(readDetails(ended).details).toMatchObject([{ reason: "TOKEN_KICKED_ERROR", metadata: { errCode: "1506" } }]);
  expect(readDetails(await failureOf(call(auth, "ParseToken", { token }))).details).toMatchObject([
    { metadata: { errCode: "1506" } },
  ]);
});

describe("it reads the error detail", () => {
  test("of a call that is refused", async () => {
    const error = await failureOf(send({ recvUserId: "" }));
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect(readDetails(error)).toEqual({
      code: 3,
      message: "ArgsError: recvUserID and recvGroupID cannot be empty at the same time",
      details: [
        {
          type: "type.googleapis.com/google.rpc.ErrorInfo",
          reason: "ARGS_ERROR",
          domain: "mustreach",
          metadata: {
            errCode: "1001",
            errMsg: "ArgsError",
            errDlt: "recvUserID and recvGroupID cannot be empty at the same time",
          },
        },
        {
          type: "type.googleapis.com/google.rpc.BadRequest",
          fieldViolations: [
            expect.objectContaining({
              field: "recv_user_id",
              description: "recvUserID and recvGroupID cannot be empty at the same time",
            }),
          ],
        },
      ],
    });
  });

  test.each<[what: string, code: status, errCode: string, refused: () => Promise<unknown>]>([
    ["without a token", status.UNAUTHENTICATED, "1001", () => send({}, {})],
    ["with a bad token", status.UNAUTHENTICATED, "1503", () => send({}, { token: "x" })],
    ["with a user's token", status.PERMISSION_DENIED, "1002", () => send({}, userHeaders)],
    ["to a group that is not there", status.NOT_FOUND, "1004", () => send({ recvUserId: "", recvGroupId: "g" })],
    ["of a stream without a token", status.UNAUTHENTICATED, "1001", () => subscribe({}, {}).next()],
    [
      "of a stream with a bad window",
      status.INVALID_ARGUMENT,
      "1001",
      () => subscribe({ window: -1 }, userHeaders).next(),
    ],
    [
      "of an acknowledgement",
      status.INVALID_ARGUMENT,
      "1001",
      () => call(delivery, "Ack", { sequence: "999999999" }, userHeaders),
    ],
  ])("%s", async (_, code, errCode, refused) => {
    const error = await failureOf(refused());
    expect(error.code).toBe(code);
    const read = readDetails(error);
    expect(read.code).toBe(code);
    expect(read.details[0]).toMatchObject({ domain: "mustreach", metadata: { errCode } });
  });

  test("of an id that was used for another body", async () => {
    await send({ clientMsgId: `twice-${user}` });
    const error = await failureOf(send({ clientMsgId: `twice-${user}`, data: "another" }));
    expect(error.code).toBe(status.ALREADY_EXISTS);
    expect(readDetails(error).details).toMatchObject([
      { reason: "DUPLICATE_KEY_ERROR", metadata: { errCode: "1003" } },
    ]);
  });

  test("of a session that a newer one has replaced", async () => {
    const older = subscribe({ deviceId: "phone" }, userHeaders);
    await older.next();
    const newer = subscribe({ deviceId: "phone" }, userHeaders);
    await newer.next();
    const error = await failureOf(older.next());
    expect(error.code).toBe(status.UNAUTHENTICATED);
    expect(readDetails(error).details).toMatchObject([{ metadata: { errCode: "1506", errMsg: "TokenKickedError" } }]);
  });
});

test("a method that is not there is UNIMPLEMENTED", async () => {
  const same = (value: Buffer) => value;
  const unknown = new Promise((resolve, reject) => {
    const path = "/mustreach.msg.v1.MsgService/Shout";
    msg.makeUnaryRequest(path, same, same, Buffer.alloc(0), toMetadata(adminHeaders), (error, response) =>
      error === null ? resolve(response) : reject(error),
    );
  });
  expect((await failureOf(unknown)).code).toBe(status.UNIMPLEMENTED);
});
