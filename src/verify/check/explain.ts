import { type Finding, firstStart, type History, type Send, type SessionEvent } from "./history.ts";

/** What happened to the notifications of a finding, in the order of time. */
export function explain({ sends, groups, marks }: History, { what, device, about }: Finding): string {
  const { userId = "", deviceId = "", sessions = [] } = device ?? {};
  const lines: { readonly at: number; readonly text: string }[] = [];
  const add = (at: number, text: string) => lines.push({ at, text });
  for (const data of about) {
    const send = sends.get(data);
    if (send === undefined) continue;
    const to = send.recvGroupId || send.recvUserId || send.recvUserIds.join("+");
    const how = describe(send);
    for (const { by, startedAt, endedAt, outcome, errCode } of send.attempts) {
      add(startedAt, `${by} sends ${data} to ${to}, level ${send.level}${how}, clientMsgID "${send.clientMsgId}"`);
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
  const highest = Math.min(
    ...sessions.flatMap(({ events }) =>
      events.filter((event) => "data" in event && about.includes(event.data)).map(({ sequence }) => sequence),
    ),
  );
  const acknowledged = device?.acknowledged.find(({ sequence }) => sequence >= highest);
  if (acknowledged !== undefined) add(acknowledged.at, `it acknowledges ${acknowledged.sequence}`);
  for (const { openedAt, on, afterSequence, resumeSequence, endedAt, end, events } of sessions) {
    const received = events.filter((event) => !("data" in event) || about.includes(event.data));
    for (const event of received) {
      add(event.at, `it gets ${nameEvent(event)} with sequence ${event.sequence}`);
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

/** What is asked of a send besides its recipient and level. */
function describe(send: Send): string {
  const parts = [
    send.sendMsg && "with a chat copy",
    send.isSettledByOne && "settled by one",
    send.collapseKey !== "" && `of ${send.collapseKey}`,
    send.ttlSeconds > 0 && `for ${send.ttlSeconds} s`,
    send.dueAt > 0 && `at ${send.dueAt.toFixed(1)}`,
    send.recvDeviceId !== "" && `only for ${send.recvDeviceId}`,
    send.exceptDeviceId !== "" && `not for ${send.exceptDeviceId}`,
  ];
  return parts.map((part) => (part === false ? "" : ` ${part}`)).join("");
}

function nameEvent(event: SessionEvent): string {
  if (event.kind === "gap") return `a gap from ${event.from}, reason ${event.reason}`;
  if (event.kind === "other") return event.about;
  return `${event.kind} ${event.data}`;
}

function isStored({ sequence }: { readonly sequence: number }): boolean {
  return sequence > 0;
}
