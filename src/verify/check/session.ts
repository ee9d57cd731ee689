import { type DeviceHistory, expiredReason, type Finding, type SessionHistory } from "./history.ts";

/** A session goes on where it was to, upwards. */
export function inspectSession(device: DeviceHistory, session: SessionHistory): Finding[] {
  const { afterSequence, resumeSequence, toldBefore, events } = session;
  const findings: Finding[] = [];
  const report = (what: string, ...about: string[]) => findings.push({ what, device, about });
  if (afterSequence !== undefined && resumeSequence !== afterSequence) {
    report(`a session after ${afterSequence} resumed after ${resumeSequence}`);
  }
  // A broker takes what was removed for acknowledged: of its consumers, what they have missed is looked for.
  if (device.kind !== "native" && resumeSequence > Math.max(toldBefore, afterSequence ?? 0)) {
    report(`a session resumed after ${resumeSequence}, but the device had acknowledged ${toldBefore} at most`);
  }
  let last = resumeSequence;
  for (const event of events) {
    const data = "data" in event ? [event.data] : [];
    // It has no place among the others.
    if (event.kind === "other") {
      report(`other: ${event.about}`);
      continue;
    }
    if (event.kind === "gap" && event.reason !== expiredReason) {
      report(`gap: ${event.from} to ${event.sequence}, reason ${event.reason}`);
    }
    // It is acknowledged once, for both.
    if (event.kind === "settled" && event.wasSent) continue;
    if (event.kind === "push") {
      if (event.sequence !== 0) report(`an online push had the sequence ${event.sequence}`, ...data);
      continue;
    }
    if (event.sequence <= last) report(`sequence ${event.sequence} came after ${last}`, ...data);
    last = Math.max(last, event.sequence);
  }
  return findings;
}
