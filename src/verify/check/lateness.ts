import type { DeviceHistory, Finding, History, Send, SessionHistory } from "./history.ts";
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
  return owedTo(history, device).flatMap(({ send, since: answered, came = Number.POSITIVE_INFINITY }) => {
    // When it is in the inbox is known of what a device has got.
    const since = isQueued(send) ? (arrivals.get(send.data) ?? Number.POSITIVE_INFINITY) : answered;
    if (came <= since + maxSilenceMs || since === Number.POSITIVE_INFINITY) return [];
    const isSilent = device.sessions.some(
      (session) =>
        session.openedAt <= since && fellSilent(history, session, since, Math.min(came, session.endedAt, knownUntil)),
    );
    if (!isSilent) return [];
    const what = `an open session said nothing for ${maxSilenceMs / 1_000} s, and owed this`;
    return [{ what, device, about: [send.data] }];
  });
}

/** Kinds of events that are read from the inbox, in its order. */
const readKinds: ReadonlySet<string> = new Set(["notification", "message", "gap"]);

/** Whether a session read nothing from the inbox for too long: one that catches up has come nearer. */
function fellSilent({ marks }: History, { events }: SessionHistory, since: number, until: number): boolean {
  const heard = events.filter(({ at, kind }) => readKinds.has(kind) && at > since && at < until).map(({ at }) => at);
  return [since, ...heard].some((from, n) => {
    const to = from + maxSilenceMs;
    return (heard[n] ?? until) > to && !marks.some(({ at, until: mended }) => at < to && mended > from);
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
