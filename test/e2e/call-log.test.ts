import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test, vi } from "vitest";
import { DeliveryService } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer();
const send = { sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "{}" };

/** The lines of one call, by its operation id. */
const linesOf = (operationID: string) => server.log.filter((line) => line.operationID === operationID);

test("every line of a call has the peer's address, whatever the door and the outcome", async () => {
  const msg = createClient(MsgService, createGrpcTransport({ baseUrl: server.url }));
  const delivery = createClient(DeliveryService, createGrpcTransport({ baseUrl: server.url }));
  const token = await server.adminToken();
  await server.post("/msg/send_business_notification", send, token, { operationID: "rest-good" });
  await server.post("/msg/send_business_notification", send, "bad", { operationID: "rest-bad" });
  await msg.getConversations({}, { headers: { token, operationID: "grpc-good" } });
  await msg.getConversations({}, { headers: { token: "bad", operationID: "grpc-bad" } }).catch(() => {});
  const stream = new AbortController();
  const headers = { token, operationID: "grpc-stream" };
  await delivery.subscribe({}, { headers, signal: stream.signal })[Symbol.asyncIterator]().next();
  stream.abort();
  for (const operationID of ["rest-good", "rest-bad", "grpc-good", "grpc-bad", "grpc-stream"]) {
    await vi.waitFor(() => expect(linesOf(operationID).length, operationID).toBeGreaterThan(0));
    for (const line of linesOf(operationID)) expect(line).toMatchObject({ peer: "127.0.0.1" });
  }
});
