import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { requireCaller } from "../auth/caller.ts";
import { platformName } from "../auth/platform.ts";
import { wrongField } from "../errors.ts";
import {
  type DeliveryService,
  Start,
  type SubscribeRequest as SubscribeMessage,
} from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Position } from "../inbox/lineage.ts";
import { maxDeviceIdBytes, requireId } from "../limits.ts";
import { doorOf } from "../observe/door.ts";
import { peerKey } from "../observe/peer.ts";
import { type AcknowledgeDeps, acknowledge } from "./ack.ts";
import { type ReceiveDeps, receive } from "./receive.ts";
import { type SubscribeDeps, type SubscribeRequest, Subscription, subscribe } from "./subscribe.ts";

/** The window of a subscriber that names none, in notifications. */
const defaultWindow = 64;

/** The largest window, in notifications. */
const maxWindow = 1_000;

/** The longest epoch, in characters. */
const maxEpochLength = 32;

/** Creates the implementation of DeliveryService, which only translates. */
export function createDeliveryService(deps: SubscribeDeps & AcknowledgeDeps): ServiceImpl<typeof DeliveryService> {
  const receiving: ReceiveDeps = {
    subscribe: (request, sink) => new Subscription(deps, request, sink),
    acknowledge: (userId, deviceId, position) => acknowledge(deps, userId, deviceId, position),
    ...{ toRequest, toPosition, toWindow },
  };
  return {
    subscribe: (request, context) => subscribe(deps, toRequest(request, context), () => context.signal),

    receive(requests, context) {
      requireCaller(context);
      return receive(receiving, requests, context);
    },

    async ack(request, context) {
      const { userId } = requireCaller(context);
      const deviceId = toDeviceId(request.deviceId, context);
      return { sequence: BigInt(await acknowledge(deps, userId, deviceId, toPosition(request))) };
    },
  };
}

function toRequest(request: SubscribeMessage, context: HandlerContext): SubscribeRequest {
  const { afterSequence, start } = request;
  const window = toWindow(request.window);
  if (start < Start.UNSPECIFIED || start > Start.ALL) throw wrongField("start", "start must be RESUME, NEW or ALL");
  return {
    caller: requireCaller(context),
    deviceId: toDeviceId(request.deviceId, context),
    peer: context.values.get(peerKey),
    door: doorOf(context),
    start,
    afterSequence: afterSequence === undefined ? undefined : toSequence(afterSequence, "after_sequence"),
    epoch: requireEpoch(request.epoch),
    window,
  };
}

function toPosition({ sequence, epoch }: { readonly sequence: bigint; readonly epoch: string }): Position {
  if (sequence === 0n) throw wrongField("sequence", "sequence must be above 0");
  return { sequence: toSequence(sequence, "sequence"), epoch: requireEpoch(epoch) };
}

function toWindow(window: number): number {
  if (window < 0 || window > maxWindow) throw wrongField("window", `window must be 1 to ${maxWindow}`);
  return window || defaultWindow;
}

function toDeviceId(deviceId: string, context: HandlerContext): string {
  if (deviceId !== "") return requireId(deviceId, "device_id", maxDeviceIdBytes);
  return platformName(requireCaller(context).platformId) ?? "default";
}

function requireEpoch(epoch: string): string {
  if (epoch.length > maxEpochLength) throw wrongField("epoch", "epoch must be one that this service gave");
  return epoch;
}

function toSequence(value: bigint, field: string): number {
  // Stream sequences stay far below 2^53: a million a second reach it after 285 years.
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw wrongField(field, `${field} was never assigned`);
  return Number(value);
}
