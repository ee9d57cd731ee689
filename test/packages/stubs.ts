// A back end's program, with the generated stubs.
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { createSender } from "@mustreach/client";
import {
  DeliveryState,
  type GetDeliveryStatusResponse,
  MsgService,
  SendBusinessNotificationRequestSchema,
} from "@mustreach/client/gen/mustreach/msg/v1/msg_pb.js";
import { createTestServer, type TestDevice } from "mustreach/testing";

/** Sends to bob by a stub, and through a transport of the caller's own; gives what has become of it. */
export async function sendByStubs(): Promise<string[]> {
  await using server = await createTestServer({ settings: { MUSTREACH_RETENTION: "1h" } });
  const headers = { token: await server.adminToken() };
  const transport = createGrpcTransport({ baseUrl: server.url });
  const msg = createClient(MsgService, transport);
  const phone: TestDevice = await server.receive("bob");
  const notification = { sendUserId: "imAdmin", recvUserId: "bob", key: "order.paid", reliabilityLevel: 2 };
  await msg.sendBusinessNotification(
    create(SendBusinessNotificationRequestSchema, { ...notification, data: "by a stub", clientMsgId: "order-1" }),
    { headers },
  );
  const seen = [(await phone.next()).data];
  const sender = createSender({ baseUrl: server.url, token: headers.token, transport });
  await sender.send({ sendUserID: "imAdmin", recvUserID: "bob", key: "order.paid", data: "by a transport" });
  seen.push((await phone.next()).data);
  await phone.close();
  const status: GetDeliveryStatusResponse = await msg.getDeliveryStatus({ clientMsgId: "order-1" }, { headers });
  if (status.recipients[0]?.state === DeliveryState.DELIVERED) seen.push("delivered");
  return seen;
}
