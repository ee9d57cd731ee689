import { inspectArrivals, inspectLosses } from "./arrivals.ts";
import { inspectCollapsed } from "./collapsed.ts";
import type { Finding, History } from "./history.ts";
import { inspectOrder, inspectPlaces } from "./order.ts";
import { inspectRecalls } from "./recalls.ts";
import { inspectReplies } from "./replies.ts";
import { inspectSession } from "./session.ts";
import { inspectSettled } from "./settled.ts";
import { inspectTimed } from "./timed.ts";

/** Looks for everything in a history that the promise does not allow. */
export function inspect(history: History): Finding[] {
  const places = new Map<string, Map<number, string>>();
  const placeFindings = history.devices.flatMap((device) => inspectPlaces(device, places));
  return [
    ...inspectReplies(history),
    ...history.devices.flatMap((device) => [
      ...device.sessions.flatMap((session) => inspectSession(device, session)),
      ...inspectArrivals(history, device),
      ...inspectRecalls(history, device),
      ...inspectCollapsed(history, device),
      ...inspectSettled(history, device),
      ...inspectTimed(history, device, places.get(device.userId) ?? new Map()),
      ...inspectLosses(history, device),
    ]),
    ...placeFindings,
    ...inspectOrder(history, places),
  ];
}
