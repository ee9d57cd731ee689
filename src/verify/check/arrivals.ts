import {
  acceptance,
  type DeviceHistory,
  type EventKind,
  type Finding,
  firstStart,
  type History,
  heardBy,
  type Send,
  type SessionHistory,
} from "./history.ts";
import { toItem } from "./order.ts";
import { owedTo } from "./owed.ts";
import { isCertainlyFor, isFor } from "./recipients.ts";

/** A removed member may get online pushes for this long: a second is promised, the rest is for a busy machine. */
const leaveGraceMs = 3_000;

/** What arrives was sent, to this user, and was not refused; an online push arrives once in a session. */
export function inspectArrivals({ sends, groups }: History, device: DeviceHistory): Finding[] {
  const findings: Finding[] = [];
  // One that goes to another instance may get there once more what is on its way to both.
  const pushed = new Map<SessionHistory, Set<string>>(device.sessions.map((session) => [session, new Set()]));
  for (const [session, event] of device.sessions.flatMap((one) => one.events.map((event) => [one, event] as const))) {
    if (!("data" in event) || event.kind === "recall" || event.kind === "settled") continue;
    const { data, kind } = event;
    const report = (what: string) => findings.push({ what, device, about: [data] });
    const send = sends.get(data);
    if (send === undefined) {
      report("nobody sent this");
      continue;
    }
    if (!kindsOf(send).includes(kind)) report(`sent with level ${send.level}, it arrived as a ${kind}`);
    if (send.attempts.some(({ outcome }) => outcome === "refused")) report("what was refused arrived");
    if (kind === "push") {
      const before = pushed.get(session);
      if (before?.has(data)) report("an online push arrived twice");
      before?.add(data);
    }
    const from = firstStart(send) - (kind === "push" ? leaveGraceMs : 0);
    const until = acceptance(send)?.until ?? Number.POSITIVE_INFINITY;
    if (isFor(groups, send, device, from, until) === "never") report(whyNot(send, device));
  }
  return findings;
}

/** Why a send is not for a device. */
function whyNot({ recvUserId, recvUserIds, recvGroupId }: Send, { userId, deviceId }: DeviceHistory): string {
  if (recvGroupId !== "") return `what was sent to ${recvGroupId} arrived at a user who was not a member`;
  const to = [recvUserId, ...recvUserIds];
  return to.includes(userId)
    ? `what is not for the device ${deviceId} arrived there`
    : `what was sent to ${to.filter(Boolean).join(", ")} arrived`;
}

/** What a send brings its recipients. */
function kindsOf({ level, sendMsg }: Send): EventKind[] {
  return [level === 1 ? "push" : "notification", ...(sendMsg ? (["message"] as const) : [])];
}

/** What was accepted arrives, all but online pushes. */
export function inspectLosses(history: History, device: DeviceHistory): Finding[] {
  const { sends, groups } = history;
  const received = new Set(device.sessions.flatMap(({ events }) => events.map(toItem)));
  const lose = (kind: EventKind, { data }: Send): Finding => {
    return { what: `a ${kind} that was accepted did not arrive`, device, about: [data], mayCome: true };
  };
  const copies = heardBy[device.kind].has("message")
    ? [...sends.values()].filter(({ sendMsg, recalls }) => sendMsg && recalls.length === 0)
    : [];
  return [
    ...owedTo(history, device).flatMap(({ send, came }) => (came === undefined ? [lose("notification", send)] : [])),
    ...copies
      .filter((send) => isCertainlyFor(groups, send, device) && !received.has(`message ${send.data}`))
      .map((send) => lose("message", send)),
  ];
}
