import { createHash } from "node:crypto";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { DeliveryService } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { Durability, MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { type DeviceSession, useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer();
const openDevice = useDevices();
let admin: string;

beforeAll(async () => {
  admin = await server.adminToken();
});

const protocols: [name: string, connect: (baseUrl: string) => Transport][] = [
  [
    "Connect JSON over HTTP/1.1",
    (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  ],
  [
    "Connect JSON over HTTP/2",
    (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false }),
  ],
  [
    "Connect binary over HTTP/1.1",
    (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true }),
  ],
  [
    "Connect binary over HTTP/2",
    (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: true }),
  ],
  ["gRPC", (baseUrl) => createGrpcTransport({ baseUrl })],
  ["gRPC with JSON", (baseUrl) => createGrpcTransport({ baseUrl, useBinaryFormat: false })],
  ["gRPC-Web over HTTP/1.1", (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" })],
  ["gRPC-Web over HTTP/2", (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "2" })],
];

describe.each(protocols)("%s", (name, connect) => {
  const open: AbortController[] = [];
  afterEach(() => {
    for (const stream of open.splice(0)) stream.abort();
  });

  const send = (change: object = {}, headers: Record<string, string> = { token: admin }) =>
    createClient(MsgService, connect(server.url)).sendBusinessNotification(
      { sendUserId: "imAdmin", recvUserId: name, key: "order.paid", data: "{}", reliabilityLevel: 2, ...change },
      { headers },
    );

  test("sends, subscribes and acknowledges, and every character arrives", async () => {
    const delivery = createClient(DeliveryService, connect(server.url));
    const headers = { token: await server.userToken(name) };
    const subscribe = () => {
      const stream = new AbortController();
      open.push(stream);
      const events = delivery
        .subscribe({ deviceId: "phone" }, { headers, signal: stream.signal })
        [Symbol.asyncIterator]();
      return { next: async () => (await events.next()).value?.event, close: () => stream.abort() };
    };

    const session = subscribe();
    expect(await session.next()).toMatchObject({ case: "ready", value: { resumeSequence: 0n, deviceId: "phone" } });
    const key = `"key" \\ 😀`;
    const data = `{"quotes":"\\"","nul":"\u0000"} \ufeff 😀 日本 \u2028\r\n\t`;
    const accepted = await send({ key, data });
    expect(accepted).toMatchObject({
      serverMsgId: expect.stringMatching(/^[0-9a-f]{32}$/),
      clientMsgId: expect.stringMatching(/^[0-9a-f]{32}$/),
      durability: Durability.FSYNCED,
    });
    const event = await session.next();
    const { serverMsgId, clientMsgId, sendTime } = accepted;
    expect(event).toMatchObject({
      case: "notification",
      value: { serverMsgId, clientMsgId, sendTime, recvUserId: name, key, data, reliabilityLevel: 2 },
    });
    const sequence = event?.case === "notification" ? event.value.sequence : 0n;
    expect(sequence).toBeGreaterThan(0n);
    expect(await delivery.ack({ deviceId: "phone", sequence }, { headers })).toMatchObject({ sequence });
    session.close();

    const resumed = subscribe();
    expect(await resumed.next()).toMatchObject({ case: "ready", value: { resumeSequence: sequence, pending: 0n } });
    const pushed = await send({ reliabilityLevel: 1, key, data });
    expect(pushed.durability).toBe(Durability.NONE);
    expect(await resumed.next()).toMatchObject({
      case: "notification",
      value: { serverMsgId: pushed.serverMsgId, key, data, reliabilityLevel: 1, sequence: 0n },
    });
  });

  test("takes the token from authorization too", async () => {
    await expect(send({}, { authorization: `Bearer ${admin}` })).resolves.toMatchObject({
      durability: Durability.FSYNCED,
    });
  });

  test("needs no operation id, and repeats one that is given", async () => {
    const ids: (string | null)[] = [];
    for (const operationID of ["", "op-7"]) {
      await createClient(MsgService, connect(server.url)).sendBusinessNotification(
        { sendUserId: "a", recvUserId: "b", key: "k", data: "" },
        { headers: { token: admin, operationID }, onHeader: (headers) => ids.push(headers.get("operationid")) },
      );
    }
    expect(ids).toEqual([expect.stringMatching(/./), "op-7"]);
  });

  test("an error has its code, and its facts in an ErrorInfo", async () => {
    const error = await send({ recvUserId: "" }).then(() => expect.fail("it was accepted"), ConnectError.from);
    expect(error.code).toBe(Code.InvalidArgument);
    expect(error.findDetails(ErrorInfoSchema)).toMatchObject([
      {
        reason: "ARGS_ERROR",
        domain: "mustreach",
        metadata: {
          errCode: "1001",
          errMsg: "ArgsError",
          errDlt: "recvUserID and recvGroupID cannot be empty at the same time",
        },
      },
    ]);
  });

  test("one of many errors at the gate as well", async () => {
    const error = await send({}, {}).then(() => expect.fail("it was accepted"), ConnectError.from);
    expect(error.code).toBe(Code.Unauthenticated);
    expect(toErrorFacts(error)).toEqual({ errCode: 1001, errMsg: "ArgsError", errDlt: "header must have token" });
    expect(error.findDetails(ErrorInfoSchema)).toHaveLength(1);
  });

  test("a large call that is refused before it is read ends at once", async () => {
    const data = "x".repeat(262_144);
    const error = await send({ data }, { token: "x" }).then(() => expect.fail("it was accepted"), ConnectError.from);
    expect(toErrorFacts(error)).toMatchObject({ errCode: 1503 });
  });
});

const longId = "x".repeat(300);

/** User ids that mean something to someone, and the ids that they could be taken for. */
const userIds = [
  "*",
  ">",
  "a.b",
  "a",
  "日本",
  longId,
  `${longId}x`,
  " ",
  "  ",
  " a",
  "a ",
  "a b",
  "\u00a0",
  // The base64url of `*` and of `a`, and the hash of the long one, as they are in subjects.
  "Kg",
  "YQ",
  `=${createHash("sha256").update(longId).digest("base64url")}`,
  "inbox.0.*.>",
  "%2A",
  "é".normalize("NFC"),
  "é".normalize("NFD"),
  "A",
  "../..",
  "😀",
  "\ufffd",
];

describe("a notification reaches exactly the user that it is for", () => {
  test.each([2, 1] as const)("level %i, with all of them listening at once", async (level) => {
    const send = async (recvUserID: string, data: string) => {
      const body = { sendUserID: "imAdmin", recvUserID, key: "k", data, reliabilityLevel: level };
      const { json } = await server.post("/msg/send_business_notification", body, admin);
      expect(json).toMatchObject({ errCode: 0 });
    };
    const sessions = new Map<string, DeviceSession>();
    for (const userId of userIds) {
      const device = openDevice(server.url, await server.userToken(userId), `level-${level}`);
      sessions.set(userId, await device.subscribe());
    }
    for (const userId of userIds) await send(userId, `for ${userId}`);
    for (const userId of userIds) await send(userId, "the end");

    for (const [userId, session] of sessions) {
      // What belonged to somebody else would have come before the end, which was sent last.
      const arrived = await session.take(2);
      expect(arrived.map(({ recvUserId, data }) => [recvUserId, data])).toEqual([
        [userId, `for ${userId}`],
        [userId, "the end"],
      ]);
    }
  });
});
