import {
  acceptance,
  type DeviceHistory,
  expiredReason,
  type Finding,
  firstStart,
  type History,
  heardBy,
  type Send,
  type SessionEvent,
} from "./history.ts";
import { isCertainlyFor, isFor } from "./recipients.ts";

/** Clocks are compared to this, in milliseconds: ours runs on, and that of the system is set. */
const clockGraceMs = 200;

/** When it cannot have expired yet, and when it has for certain, by the history's clock. */
function expiry(send: Send): { readonly earliest: number; readonly latest: number } {
  const ttlMs = send.ttlSeconds === 0 ? Number.POSITIVE_INFINITY : send.ttlSeconds * 1_000;
  return {
    earliest: Math.max(firstStart(send), send.dueAt) + ttlMs,
    latest: Math.max(acceptance(send)?.until ?? Number.POSITIVE_INFINITY, send.dueAt) + ttlMs,
  };
}

/**
 * What is sent for later does not come before. What has expired does not come in a session that is opened then, and a
 * gap tells of it: of that, and of nothing else. `places` is what is in the user's, as far as any device has seen it.
 */
export function inspectTimed(history: History, device: DeviceHistory, places: ReadonlyMap<number, string>): Finding[] {
  // Whether anything came too early or too late is not known of a clock that was turned.
  if (history.marks.some(({ what }) => what.includes("clock"))) return [];
  return [...inspectTimes(history, device), ...inspectGaps(history, device, places), ...inspectUntold(history, device)];
}

function inspectTimes({ sends }: History, device: DeviceHistory): Finding[] {
  const findings: Finding[] = [];
  for (const { openedAt, events } of device.sessions) {
    for (const event of events) {
      const send = event.kind === "notification" ? sends.get(event.data) : undefined;
      if (send === undefined) continue;
      const report = (what: string) => findings.push({ what, device, about: [send.data] });
      if (event.at < send.dueAt - clockGraceMs) report("it came before its time");
      // A consumer at the broker gets it.
      if (device.kind !== "native" && openedAt > expiry(send).latest + clockGraceMs) {
        report("a session that was opened after it had expired got it");
      }
    }
  }
  return findings;
}

/** A gap has nothing in it that a device is to get. */
function inspectGaps(
  { sends, groups }: History,
  device: DeviceHistory,
  places: ReadonlyMap<number, string>,
): Finding[] {
  const findings: Finding[] = [];
  for (const gap of gapsOf(device)) {
    for (const [sequence, item] of places) {
      const send = item.startsWith("notification ") ? sends.get(item.slice("notification ".length)) : undefined;
      if (send === undefined || sequence < gap.from || sequence > gap.sequence) continue;
      // What is withdrawn is not there any more.
      if (send.recalls.length > 0 || send.collapseKey !== "" || gap.at >= expiry(send).earliest - clockGraceMs)
        continue;
      if (isFor(groups, send, device, 0, Number.POSITIVE_INFINITY) === "never") continue;
      findings.push({ what: "a gap has what had not expired", device, about: [send.data] });
    }
  }
  return findings;
}

/** What has expired, and has not come, is told. */
function inspectUntold({ sends, groups }: History, device: DeviceHistory): Finding[] {
  if (!heardBy[device.kind].has("gap")) return [];
  const came = new Set(device.sessions.flatMap(({ events }) => events.flatMap(toData)));
  const gaps = gapsOf(device);
  return [...sends.values()]
    .filter(({ ttlSeconds, data, recalls }) => ttlSeconds > 0 && recalls.length === 0 && !came.has(data))
    .filter((send) => isCertainlyFor(groups, send, device))
    .filter((send) => !gaps.some(({ at }) => at >= expiry(send).earliest - clockGraceMs))
    .map(({ data }) => ({ what: "what has expired is not told", device, about: [data], mayCome: true }));
}

function gapsOf({ sessions }: DeviceHistory) {
  return sessions
    .flatMap(({ events }) => events)
    .filter((event) => event.kind === "gap")
    .filter(({ reason }) => reason === expiredReason);
}

function toData(event: SessionEvent): string[] {
  return event.kind === "notification" ? [event.data] : [];
}
