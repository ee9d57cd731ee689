import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { create } from "@bufbuild/protobuf";
import { expect, onTestFinished, test } from "vitest";
import { WebSocketServer } from "ws";
import { NotificationSchema, Start } from "../../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createFrameCodec } from "../../../src/openim/wire/frames.ts";
import { encodeMessage, encodeMessages } from "../../../src/openim/wire/messages.ts";
import { openimKinds } from "../../../src/verify/doors/openim-connection.ts";
import { openimJsDoor } from "../../../src/verify/doors/openim-doors.ts";

const { encode } = createFrameCodec("js", false);

/** A push of the notification with this `data`, as the gateway makes it. */
async function toPush(data: string, number: number) {
  const notification = create(NotificationSchema, { key: "order", data, serverMsgId: data });
  const messages = encodeMessages("n_mustreach_ann", [encodeMessage(notification, number)]);
  const unasked = { errCode: 0, errMsg: "", msgIncr: "", operationID: "" };
  return await encode({ ...unasked, reqIdentifier: openimKinds.push, data: messages });
}

test("OpenIM's JavaScript SDK has told the app of all that its engine has read, however it ends", async () => {
  const gateway = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  onTestFinished(() => void gateway.close());
  await once(gateway, "listening");
  const { port } = gateway.address() as AddressInfo;
  const ending = new AbortController();
  const door = openimJsDoor("ann", 5);
  const request = { deviceId: "Web", window: 1, start: Start.RESUME };
  const connected = once(gateway, "connection");
  const session = door.open(`http://127.0.0.1:${port}`, request, { token: "token", signal: ending.signal });
  const ready = session.next();
  const [socket] = await connected;
  socket.send('{"errCode":0,"errMsg":"","errDlt":""}');
  expect(await ready).toMatchObject({ case: "ready" });
  for (const [index, data] of ["a", "b", "c"].entries()) socket.send(await toPush(data, (index + 1) * 1_000));
  const pong = once(socket, "pong");
  socket.ping("1");
  await pong;
  ending.abort();
  for (const data of ["a", "b", "c"]) {
    expect(await session.next()).toMatchObject({ case: "notification", value: { data } });
  }
  await expect(session.next()).rejects.toThrow();
});
