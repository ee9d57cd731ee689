import { firstStart, type History } from "./history.ts";
import type { Finding } from "./inspect.ts";

/** What happened to the notifications of a finding, in the order of time. */
export function explain({ sends, groups, marks }: History, { what, device, about }: Finding): string {
  const { userId = "", deviceId = "", sessions = [] } = device ?? {};
  const lines: { readonly at: number; readonly text: string }[] = [];
  const add = (at: number, text: string) => lines.push({ at, text });
  for (const data of about) {
    const send = sends.get(data);
    if (send === undefined) continue;
    const to = send.recvGroupId || send.recvUserId;
    const copy = send.sendMsg ? " with a chat copy" : "";
    for (const { by, startedAt, endedAt, outcome, errCode } of send.attempts) {
      add(startedAt, `${by} sends ${data} to ${to}, level ${send.level}${copy}, clientMsgID "${send.clientMsgId}"`);
      add(endedAt, `${by} is answered about ${data}: ${outcome} ${errCode || ""}`);
    }
    for (const { by, startedAt, endedAt, outcome, errCode } of send.recalls) {
      add(startedAt, `${by} recalls ${data}`);
      add(endedAt, `${by} is answered about the recall of ${data}: ${outcome} ${errCode || ""}`);
    }
    if (groups.get(send.recvGroupId)?.firstMembers.has(userId)) add(0, `${userId} is a first member of ${to}`);
    for (const { userIds, joined, startedAt, endedAt } of groups.get(send.recvGroupId)?.changes ?? []) {
      if (!userIds.includes(userId)) continue;
      add(startedAt, `${userId} is being ${joined ? "added to" : "removed from"} ${to}`);
      add(endedAt, `${userId} is ${joined ? "added to" : "removed from"} ${to}`);
    }
  }
  for (const { openedAt, on, afterSequence, resumeSequence, endedAt, end, events } of sessions) {
    const received = events.filter((event) => !("data" in event) || about.includes(event.data));
    for (const event of received) {
      const item = "data" in event ? `${event.kind} ${event.data}` : `${event.kind} ${event.about}`;
      add(event.at, `it gets ${item} with sequence ${event.sequence}`);
    }
    const [first, last] = [events.find(isStored), events.findLast(isStored)];
    const asked = afterSequence === undefined ? "its cursor" : afterSequence;
    add(openedAt, `it subscribes on ${on} after ${asked}, which is ${resumeSequence}`);
    add(endedAt, `its session ends (${end}); it had ${first?.sequence ?? "nothing"} to ${last?.sequence ?? "nothing"}`);
  }
  for (const { at, until, what: mark } of marks) {
    add(at, `! ${mark}`);
    add(until, `! ${mark}: over`);
  }
  const from = Math.min(...about.map((data) => sends.get(data)).flatMap((send) => (send ? [firstStart(send)] : [])));
  lines.sort((a, b) => a.at - b.at);
  const start = Math.max(
    0,
    lines.findIndex(({ at }) => at >= from),
  );
  // Of what was before the notification, only its last and the membership are of use.
  const told = [...lines.slice(0, start).filter(({ text }, i) => i >= start - 4 || text.startsWith(userId))]
    .concat(lines.slice(start, start + 60))
    .map(({ at, text }) => `  ${at.toFixed(1).padStart(9)}  ${text}`);
  const where = device === undefined ? "" : `; device ${deviceId} of ${userId}`;
  return [`${what} (${about.join(", ")}${where})`, ...told].join("\n");
}

function isStored({ sequence }: { readonly sequence: number }): boolean {
  return sequence > 0;
}
