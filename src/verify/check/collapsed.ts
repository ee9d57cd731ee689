import {
  acceptance,
  type DeviceHistory,
  type Finding,
  firstStart,
  type History,
  heardBy,
  isRecalled,
  type Send,
} from "./history.ts";

/** What is replaced by what: sends of one key to one recipient. Those without a key are in none. */
export function groupRivals({ sends }: History): ReadonlyMap<string, readonly Send[]> {
  return Map.groupBy(
    [...sends.values()].filter(({ collapseKey }) => collapseKey !== ""),
    nameTopic,
  );
}

/** Whether another send may have taken the place of a send: one of its key that was not answered before it began. */
export function mayBeReplaced(send: Send, rivals: ReadonlyMap<string, readonly Send[]>): boolean {
  if (send.collapseKey === "") return false;
  return (rivals.get(nameTopic(send)) ?? []).some(
    (rival) =>
      rival !== send &&
      rival.attempts.some(({ outcome }) => outcome !== "refused") &&
      (acceptance(rival)?.until ?? Number.POSITIVE_INFINITY) >= firstStart(send),
  );
}

/**
 * Of a key, one is left: the newest. A device that has older ones is told that they were replaced, and in a session that
 * is opened later it does not get them.
 */
export function inspectCollapsed(history: History, device: DeviceHistory): Finding[] {
  if (!heardBy[device.kind].has("recall")) return [];
  const findings: Finding[] = [];
  const told = new Set<string>();
  const arrivals = new Map<string, { readonly send: Send; readonly sequence: number; openedAt: number }>();
  for (const { openedAt, events } of device.sessions) {
    for (const event of events) {
      if (event.kind === "recall") told.add(event.data);
      const send = event.kind === "notification" ? history.sends.get(event.data) : undefined;
      if (send === undefined || send.collapseKey === "") continue;
      arrivals.set(send.data, { send, sequence: event.sequence, openedAt });
    }
  }
  for (const [, ofTopic] of Map.groupBy(arrivals.values(), ({ send }) => nameTopic(send))) {
    // One that was recalled before it took the place of the others is not there to take it.
    const accepted = ofTopic.filter(({ send }) => acceptance(send) !== undefined && !isRecalled(send));
    const newest = accepted.reduce(
      (last, next) => (next.sequence > last.sequence ? next : last),
      accepted[0] ?? nothing,
    );
    for (const { send, sequence, openedAt } of ofTopic) {
      if (sequence >= newest.sequence || newest.send === undefined) continue;
      const about = [send.data, newest.send.data];
      if (!told.has(send.data)) {
        findings.push({ what: "it was replaced, and the device is not told", device, about, mayCome: true });
      }
      // A send to a group is answered before it is in the inbox, and replaces there.
      const replacedAt = acceptance(newest.send)?.until ?? Number.POSITIVE_INFINITY;
      if (send.recvGroupId === "" && openedAt > replacedAt) {
        findings.push({ what: "a session that was opened after it was replaced got it", device, about });
      }
    }
  }
  return findings;
}

const nothing = { send: undefined, sequence: -1 } as const;

function nameTopic({ recvUserId, recvGroupId, collapseKey }: Send): string {
  return JSON.stringify([recvUserId, recvGroupId, collapseKey]);
}
