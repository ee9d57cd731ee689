import type { DeviceHistory, Finding, History, Send } from "./history.ts";
import { isFor } from "./recipients.ts";

/** An acknowledgement is stored about a second after it was answered, in milliseconds; the rest is for a busy machine. */
const storedAfterMs = 5_000;

/** What one device has acknowledged is settled for the others of its user, and nothing else is. */
export function inspectSettled(history: History, device: DeviceHistory): Finding[] {
  const others = history.devices.filter(({ userId, kind }) => userId === device.userId && kind !== "native");
  return [...inspectTold(history, device, others), ...inspectComing(history, device, others)];
}

/** A device is told of what another has acknowledged before. */
function inspectTold({ sends, groups }: History, device: DeviceHistory, others: readonly DeviceHistory[]): Finding[] {
  const findings: Finding[] = [];
  for (const { events } of device.sessions) {
    const here = new Set<string>();
    for (const event of events) {
      if (event.kind === "notification") here.add(event.data);
      if (event.kind !== "settled") continue;
      const { data, at, sequence } = event;
      const report = (what: string) => findings.push({ what, device, about: [data] });
      const send = sends.get(data);
      if (send === undefined) continue;
      if (!send.isSettledByOne) report("it was settled, and each device was to get it");
      if (event.wasSent && !here.has(data)) report("what had not come in this session was settled as if it had");
      const isPast = (other: DeviceHistory) =>
        other !== device &&
        isFor(groups, send, other, 0, Number.POSITIVE_INFINITY) !== "never" &&
        placesHandled(other).some((place) => place.at <= at && place.sequence >= sequence);
      if (!others.some(isPast)) report("it was settled, and no other device had acknowledged it");
    }
  }
  return findings;
}

/** In a session that is opened after a device's acknowledgement was stored, no other device gets it. */
function inspectComing(history: History, device: DeviceHistory, others: readonly DeviceHistory[]): Finding[] {
  if (device.kind === "native") return [];
  const findings: Finding[] = [];
  for (const { openedAt, events } of device.sessions) {
    for (const event of events) {
      const send = event.kind === "notification" ? history.sends.get(event.data) : undefined;
      if (send === undefined || !send.isSettledByOne) continue;
      const settler = others.find(
        (other) => other !== device && isStored(history, send, other, event.sequence, openedAt),
      );
      if (settler === undefined) continue;
      const what = "a session that was opened after another device had acknowledged it got it";
      findings.push({ what, device, about: [send.data] });
    }
  }
  return findings;
}

/**
 * Whether a device's acknowledgement was stored for certain by a moment: nothing was broken while it was to be. Of a later
 * one, a device without a cursor may by then have begun anew, by its own record: it counts from there on.
 */
function isStored(
  { groups, marks }: History,
  send: Send,
  device: DeviceHistory,
  sequence: number,
  by: number,
): boolean {
  if (isFor(groups, send, device, 0, Number.POSITIVE_INFINITY) === "never") return false;
  const first = device.acknowledged.find(({ sequence: upTo }) => upTo >= sequence);
  if (first === undefined) return false;
  const stored = first.until + storedAfterMs;
  return stored < by && !marks.some((mark) => mark.at < stored && mark.until > first.at);
}

/** Where a device was, and since when: what an SDK of OpenIM has got, it acknowledges by itself. */
function placesHandled({ kind, acknowledged, sessions }: DeviceHistory) {
  return kind === "openim" ? sessions.flatMap(({ events }) => events) : acknowledged;
}
