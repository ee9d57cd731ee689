import { createClient, type Transport } from "@connectrpc/connect";
import { DeliveryService } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import { MsgService } from "../../gen/mustreach/msg/v1/msg_pb.ts";
import type { CreateCallsOver } from "../wire/delivery.ts";
import { fromConnectError } from "./error.ts";

/** The service over a transport of Connect. */
export const createConnectCalls: CreateCallsOver = (given) => {
  const transport = given as Transport;
  const delivery = createClient(DeliveryService, transport);
  const msg = createClient(MsgService, transport);
  return {
    async *subscribe(request, { token, signal }) {
      try {
        yield* delivery.subscribe(request, { headers: { token }, signal });
      } catch (thrown) {
        throw fromConnectError(thrown);
      }
    },
    ack: (request, { token, signal }) => delivery.ack(request, { headers: { token }, signal }).catch(rethrow),
    send: (request, { token, signal }) =>
      msg.sendBusinessNotification(request, { headers: { token }, signal }).catch(rethrow),
  };
};

function rethrow(thrown: unknown): never {
  throw fromConnectError(thrown);
}
