import type { SessionEvent as DeviceEvent } from "../client/wire/event.ts";
import type { SessionEvent } from "./check/history.ts";

/** What a device records of what it has handled. */
export function placeOf(event: DeviceEvent | undefined) {
  switch (event?.case) {
    case "notification":
    case "recall":
    case "settled":
      return { sequence: event.value.sequence, epoch: event.value.epoch };
    case "message":
      return { sequence: event.value.notification?.sequence ?? 0n, epoch: event.value.notification?.epoch ?? "" };
    case "gap":
      return { sequence: event.value.to, epoch: event.value.epoch };
    default:
      return { sequence: 0n, epoch: "" };
  }
}

/**
 * What is kept of an event; undefined for what is none of a notification.
 *
 * @param dataOf is asked whenever the data of what has only an id is looked at: a recall may come before the send that it
 * recalls is answered.
 */
export function toSessionEvent(
  event: DeviceEvent | undefined,
  at: number,
  dataOf: (serverMsgId: string) => string,
): SessionEvent | undefined {
  switch (event?.case) {
    case "notification": {
      const { sequence, data, reliabilityLevel: level } = event.value;
      return { at, kind: level === 1 ? "push" : "notification", sequence: Number(sequence), data };
    }
    case "recall": {
      const { sequence, serverMsgId } = event.value;
      return {
        at,
        kind: "recall",
        sequence: Number(sequence),
        get data() {
          return dataOf(serverMsgId);
        },
      };
    }
    case "gap": {
      const { from, to, reason } = event.value;
      return { at, kind: "gap", sequence: Number(to), from: Number(from), reason };
    }
    case "settled": {
      const { sequence, serverMsgId, wasSent } = event.value;
      return {
        at,
        kind: "settled",
        sequence: Number(sequence),
        wasSent,
        get data() {
          return dataOf(serverMsgId);
        },
      };
    }
    case "message": {
      const { sequence = 0n, data = "" } = event.value.notification ?? {};
      return { at, kind: "message", sequence: Number(sequence), data };
    }
    default:
      return undefined;
  }
}
