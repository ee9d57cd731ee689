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

/**
 * An instance looks 20 times a second whether its clock is right again, in between what it does; the rest is for a busy
 * machine. In milliseconds.
 */
const noticedAfterMs = 5_000;

/** Times, by the clock of the history. */
type Spans = readonly { readonly from: number; readonly until: number }[];

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
 *
 * The time of a notification is that of the instance that accepts it, and whether it has come, that of the one that
 * reads: what a wrong clock may have had a part in is not judged.
 */
export function inspectTimed(history: History, device: DeviceHistory, places: ReadonlyMap<number, string>): Finding[] {
  const wrong = wrongClocks(history);
  return [
    ...inspectTimes(history, device, wrong),
    ...inspectGaps(history, device, wrong, places),
    ...inspectUntold(history, device, wrong),
  ];
}

function inspectTimes({ sends }: History, device: DeviceHistory, wrong: Spans): Finding[] {
  const findings: Finding[] = [];
  for (const { openedAt, events } of device.sessions) {
    for (const event of events) {
      const send = event.kind === "notification" ? sends.get(event.data) : undefined;
      if (send === undefined) continue;
      const report = (what: string) => findings.push({ what, device, about: [send.data] });
      if (event.at < send.dueAt - clockGraceMs && areClocksRight(wrong, firstStart(send), event.at)) {
        report("it came before its time");
      }
      // A consumer at the broker gets it.
      if (device.kind === "native" || openedAt <= expiry(send).latest + clockGraceMs) continue;
      const isMeasured = areClocksRight(wrong, firstStart(send), acceptance(send)?.until ?? event.at);
      if (isMeasured && areClocksRight(wrong, openedAt, event.at)) {
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
  wrong: Spans,
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
      // By no clock has expired what does not expire.
      if (send.ttlSeconds > 0 && !areClocksRight(wrong, firstStart(send), gap.at)) continue;
      if (isFor(groups, send, device, 0, Number.POSITIVE_INFINITY) === "never") continue;
      findings.push({ what: "a gap has what had not expired", device, about: [send.data] });
    }
  }
  return findings;
}

/** What has expired, and has not come, is told. */
function inspectUntold({ sends, groups }: History, device: DeviceHistory, wrong: Spans): Finding[] {
  if (!heardBy[device.kind].has("gap")) return [];
  const came = new Set(device.sessions.flatMap(({ events }) => events.flatMap(toData)));
  const gaps = gapsOf(device);
  return [...sends.values()]
    .filter(({ ttlSeconds, data, recalls }) => ttlSeconds > 0 && recalls.length === 0 && !came.has(data))
    .filter((send) => isCertainlyFor(groups, send, device))
    .filter((send) => areClocksRight(wrong, firstStart(send), expiry(send).latest))
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

/** When the clock of an instance was wrong, or may still have been. */
function wrongClocks({ marks }: History): Spans {
  return marks
    .filter(({ what }) => what.includes("clock"))
    .map(({ at: from, until }) => {
      // An instance that was frozen meanwhile looks when it goes on.
      const meanwhile = marks.filter((mark) => mark.at < until + noticedAfterMs && mark.until > until);
      return { from, until: Math.max(until, ...meanwhile.map((mark) => mark.until)) + noticedAfterMs };
    });
}

/** Whether all clocks were right from one moment to another. */
function areClocksRight(wrong: Spans, from: number, until: number): boolean {
  return wrong.every((span) => span.until < from || span.from > until);
}
