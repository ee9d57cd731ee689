import type { DeviceHistory, Finding, History, Send } from "./history.ts";
import { owedTo } from "./owed.ts";

/** What a device with an open session is owed comes within this long where nothing is broken, in milliseconds. */
export const maxSilenceMs = 15_000;

/**
 * A hint that is lost is no loss while somebody looks: an open session of a device that works brings what is owed.
 *
 * @param until what the history is known up to, by its clock.
 */
export function inspectLateness(history: History, until = Number.POSITIVE_INFINITY): Finding[] {
  const arrivals = new Map<string, Map<string, number>>();
  for (const device of history.devices) noteArrivals(device, arrivals);
  return history.devices.flatMap((device) =>
    inspectDevice(history, device, arrivals.get(device.userId) ?? new Map(), until),
  );
}

function inspectDevice(
  history: History,
  device: DeviceHistory,
  arrivals: ReadonlyMap<string, number>,
  knownUntil: number,
): Finding[] {
  const { marks } = history;
  return owedTo(history, device).flatMap(({ send, since: answered, came = Number.POSITIVE_INFINITY }) => {
    // When it is in the inbox is known of what a device has got.
    const since = isQueued(send) ? (arrivals.get(send.data) ?? Number.POSITIVE_INFINITY) : answered;
    const until = since + maxSilenceMs;
    if (came <= until || until > knownUntil || since === Number.POSITIVE_INFINITY) return [];
    const wasOpen = device.sessions.some(({ openedAt, endedAt }) => openedAt <= since && endedAt > until);
    const wasBroken = marks.some(({ at, until: mended }) => at < until && mended > since);
    if (!wasOpen || wasBroken) return [];
    const what = `an open session said nothing of it for ${maxSilenceMs / 1_000} s`;
    return [{ what, device, about: [send.data] }];
  });
}

/** Whether it is answered when it is queued, and in the inboxes of its recipients later. */
function isQueued({ recvUserId, dueAt }: Send): boolean {
  return recvUserId === "" || dueAt > 0;
}

/** Adds when each notification first came to a device of a user. */
function noteArrivals({ userId, sessions }: DeviceHistory, arrivals: Map<string, Map<string, number>>): void {
  const ofUser = arrivals.get(userId) ?? new Map<string, number>();
  arrivals.set(userId, ofUser);
  for (const event of sessions.flatMap(({ events }) => events)) {
    if (event.kind !== "notification") continue;
    ofUser.set(event.data, Math.min(event.at, ofUser.get(event.data) ?? Number.POSITIVE_INFINITY));
  }
}
