import type { Subscription } from "../wire/delivery.ts";

/** What a message says in protobuf's JSON: 64-bit numbers are strings, and enums may be numbers. */
export function toRequestJson(request: unknown): string {
  return JSON.stringify(request, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
}

/** The fields of a subscription, and no others. */
export function toSubscribe({ deviceId, window, start, afterSequence, epoch }: Subscription) {
  return { deviceId, window, start, afterSequence, epoch };
}
