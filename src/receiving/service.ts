import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { requireCaller } from "../auth/caller.ts";
import { platformName } from "../auth/platform.ts";
import { wrongField } from "../errors.ts";
import { type DeliveryService, Start } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { maxDeviceIdBytes, requireId } from "../limits.ts";
import { peerKey } from "../observe/peer.ts";
import { type AcknowledgeDeps, acknowledge } from "./ack.ts";
import { type SubscribeDeps, subscribe } from "./subscribe.ts";

/** The window of a subscriber that names none, in notifications. */
const defaultWindow = 64;

/** The largest window, in notifications. */
const maxWindow = 1_000;

/** The longest epoch, in characters. */
const maxEpochLength = 32;

/** Creates the implementation of DeliveryService, which only translates. */
export function createDeliveryService(deps: SubscribeDeps & AcknowledgeDeps): ServiceImpl<typeof DeliveryService> {
  return {
    subscribe(request, context) {
      const caller = requireCaller(context);
      if (request.window < 0 || request.window > maxWindow) {
        throw wrongField("window", `window must be 1 to ${maxWindow}`);
      }
      if (request.start < Start.UNSPECIFIED || request.start > Start.ALL)
        throw wrongField("start", "start must be RESUME, NEW or ALL");
      return subscribe(deps, {
        caller,
        deviceId: toDeviceId(request.deviceId, context),
        peer: context.values.get(peerKey),
        start: request.start,
        afterSequence:
          request.afterSequence === undefined ? undefined : toSequence(request.afterSequence, "after_sequence"),
        epoch: requireEpoch(request.epoch),
        window: request.window || defaultWindow,
        signal: context.signal,
      });
    },

    async ack(request, context) {
      const { userId } = requireCaller(context);
      const deviceId = toDeviceId(request.deviceId, context);
      const sequence = toSequence(request.sequence, "sequence");
      if (sequence === 0) throw wrongField("sequence", "sequence must be above 0");
      const position = { epoch: requireEpoch(request.epoch), sequence };
      return { sequence: BigInt(await acknowledge(deps, userId, deviceId, position)) };
    },
  };
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
