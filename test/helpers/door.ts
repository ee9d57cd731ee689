import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { type SubscribeResponse, SubscribeResponseSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";

/** What a door is not made for, and why. */
export type Lacks = Partial<Record<Ability, string>>;

/** What the doors differ in: */
export type Ability =
  /** it gets online pushes; */
  | "online"
  /** it is let in by a token; */
  | "tokens"
  /** its device says how far it has handled what came; */
  | "acknowledgements"
  /** GetDeliveryStatus tells how far; */
  | "status"
  /** it is told that something was withdrawn; */
  | "recalls"
  /** what another device has settled for the user is not given to it. */
  | "settling";

/** A device: its name at the doors where it says one, and its platform at those where that is its name. */
export interface DoorDevice {
  readonly url: string;
  readonly userId: string;
  readonly deviceId: string;
  readonly platformId: number;
  readonly token: string;
  /** What is on its disk, for all that is started on it. */
  readonly disk: Map<string, number>;
}

/** What came to a device. */
export interface Arrival {
  readonly kind: "notification" | "recall" | "settled" | "gap";
  readonly data: string;
  /** Its place, for the door's own acknowledgement. */
  readonly sequence: bigint;
  readonly epoch: string;
}

/** How a session ended, as the device is told: a code, or the event of its SDK; and the close of its connection, if told. */
export interface DoorEnd {
  readonly kind: "end";
  readonly how: string;
}

/** A session of a device. */
export interface DoorSession {
  /** What comes next; heartbeats are left out. At most one call at a time. */
  next(): Promise<Arrival | DoorEnd>;
  /** Says that all up to this one has been handled; at a door without acknowledgements it is nothing. */
  acknowledge(arrival: Arrival): Promise<void>;
  /** Goes, as the protocol has it. */
  close(): Promise<void>;
  /** Cuts the connection, as the end of the device's process would. */
  kill(): Promise<void>;
}

/** A way to receive. */
export interface Door {
  readonly name: string;
  readonly lacks: Lacks;
  /** How a session ends whose token is revoked; how one whose token expires; and how one begins with a revoked one. */
  readonly ends: { readonly revoked: string; readonly expired: string; readonly refused: string };
  /** Opens a session, which is there when this resolves: what is pushed from then on comes. */
  open(device: DoorDevice): Promise<DoorSession | DoorEnd>;
}

/** What an event is to a device; undefined for those that are no arrivals. */
export function toArrival(event: SubscribeResponse["event"]): Arrival | undefined {
  switch (event.case) {
    case "notification":
      return { kind: event.case, data: event.value.data, sequence: event.value.sequence, epoch: event.value.epoch };
    case "recall":
    case "settled":
      return { kind: event.case, data: "", sequence: event.value.sequence, epoch: event.value.epoch };
    case "gap":
      return { kind: event.case, data: "", sequence: event.value.to, epoch: event.value.epoch };
    case "ready":
    case "heartbeat":
      return undefined;
    default:
      throw new Error(`a ${event.case} was not expected`);
  }
}

/** The same of an event as JSON, by its case. */
export function readArrival(json: JsonValue): Arrival | undefined {
  return toArrival(fromJson(SubscribeResponseSchema, json).event);
}

/** Reads until there is an arrival, or the end. */
export async function nextArrival(read: () => Promise<Arrival | DoorEnd | undefined>): Promise<Arrival | DoorEnd> {
  for (;;) {
    const arrived = await read();
    if (arrived !== undefined) return arrived;
  }
}
