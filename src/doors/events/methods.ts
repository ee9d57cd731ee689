import type { ServiceImplSpec } from "@connectrpc/connect";
import type { StreamMethod } from "../../calls/call.ts";
import { DeliveryService } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";

/** The methods of which the doors of JSON are other forms. */
export interface EventMethods {
  readonly subscribe: StreamMethod;
  readonly receive: StreamMethod;
}

/** @throws when they are not among the services. */
export function findEventMethods(services: readonly ServiceImplSpec[]): EventMethods {
  const find = (name: "subscribe" | "receive"): StreamMethod => {
    const method = services.find(({ service }) => service.typeName === DeliveryService.typeName)?.methods[name];
    if (method?.kind === "server_streaming" || method?.kind === "bidi_streaming") return method;
    throw new Error(`DeliveryService has no ${name}`);
  };
  return { subscribe: find("subscribe"), receive: find("receive") };
}
