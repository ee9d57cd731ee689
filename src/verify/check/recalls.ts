import { groupRivals, mayBeReplaced } from "./collapsed.ts";
import {
  acceptance,
  type DeviceHistory,
  type Finding,
  type History,
  heardBy,
  isRecalled,
  type Send,
} from "./history.ts";

/** What was recalled does not arrive in a session that is opened later, and who has it is told. */
export function inspectRecalls(history: History, device: DeviceHistory): Finding[] {
  const { sends } = history;
  const findings: Finding[] = [];
  const told = new Set<string>();
  const rivals = groupRivals(history);
  /** Whether something that nobody got an answer for may have been replaced: its id is not known. */
  const isVague = [...rivals.values()]
    .flat()
    .some((send) => send.attempts.some(({ outcome }) => outcome === "unknown"));
  for (const event of device.sessions.flatMap(({ events }) => events)) {
    if (event.kind !== "recall") continue;
    told.add(event.data);
    const send = sends.get(event.data);
    const isAsked = send === undefined ? isVague : isRecalled(send) || mayBeReplaced(send, rivals);
    if (!isAsked) findings.push({ what: "a recall that nobody asked for", device, about: [event.data] });
  }
  const missing = new Set<string>();
  for (const { openedAt, events } of device.sessions) {
    for (const event of events) {
      if (event.kind !== "notification") continue;
      const send = sends.get(event.data);
      const recalledAt = send && recallOf(send);
      if (recalledAt === undefined) continue;
      const about = [event.data];
      if (openedAt > recalledAt && !(device.kind === "native" && mayLag(history, recalledAt, event.at)))
        findings.push({ what: "a session that was opened after the recall got it", device, about });
      if (heardBy[device.kind].has("recall") && !told.has(event.data)) missing.add(event.data);
    }
  }
  for (const data of missing)
    findings.push({ what: "the device has it, and is not told of the recall", device, about: [data], mayCome: true });
  return findings;
}

/** Faults while nodes of a cluster may not have what the others have. */
const keepsApart = /\b(nodes|leader)\b/;

/**
 * Whether the broker may have given out what one of its nodes still had: a consumer at the broker gets what the node has
 * that leads the consumer, which need not be the one that leads the stream.
 */
function mayLag({ marks }: History, from: number, until: number): boolean {
  return marks.some((mark) => keepsApart.test(mark.what) && mark.at < until && mark.until > from);
}

/** When the recall of a send that was accepted before was answered. */
function recallOf(send: Send): number | undefined {
  const accepted = acceptance(send);
  const recalls = send.recalls.filter(
    ({ outcome, startedAt }) => outcome === "accepted" && accepted !== undefined && startedAt > accepted.until,
  );
  return recalls.length === 0 ? undefined : Math.min(...recalls.map(({ endedAt }) => endedAt));
}
