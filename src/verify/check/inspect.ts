import {
  acceptance,
  type DeviceHistory,
  firstStart,
  type History,
  membership,
  type Send,
  type SessionEvent,
  type SessionHistory,
} from "./history.ts";

/** A way in which a history breaks the promise. */
export interface Finding {
  readonly what: string;
  /** Where it shows; undefined when it is in the replies. */
  readonly device: DeviceHistory | undefined;
  /** The `data` of the notifications that it is about. */
  readonly about: readonly string[];
  /** Whether it may be too early to say: what is missing may still come. */
  readonly mayCome?: true;
}

/** A removed member may get online pushes for this long: a second is promised, the rest is for a busy machine. */
const leaveGraceMs = 3_000;

/** Looks for everything in a history that the promise does not allow. */
export function inspect(history: History): Finding[] {
  const places = new Map<string, Map<number, string>>();
  return [
    ...inspectReplies(history),
    ...history.devices.flatMap((device) => [
      ...device.sessions.flatMap((session) => inspectSession(device, session)),
      ...inspectArrivals(history, device),
      ...inspectRecalls(history, device),
      ...inspectLosses(history, device),
      ...inspectPlaces(device, places),
    ]),
    ...inspectOrder(history, places),
  ];
}

/** A clientMsgID is one notification, and nothing fails for no reason. */
function inspectReplies({ sends }: History): Finding[] {
  const findings: Finding[] = [];
  for (const { data, attempts, recalls } of sends.values()) {
    const isFailed = [...attempts, ...recalls].some(({ errCode }) => errCode === 500);
    if (isFailed) findings.push({ what: "a call was answered with 500", device: undefined, about: [data] });
  }
  const accepted = [...sends.values()].filter((send) => acceptance(send) !== undefined);
  for (const { data, attempts } of accepted) {
    const ids = new Set(attempts.flatMap(({ outcome, serverMsgId }) => (outcome === "accepted" ? [serverMsgId] : [])));
    if (ids.size > 1) findings.push({ what: "one send has several serverMsgIDs", device: undefined, about: [data] });
  }
  for (const [clientMsgId, sharing] of Map.groupBy(accepted, (send) => send.clientMsgId)) {
    const about = sharing.map(({ data }) => data);
    if (clientMsgId === "" || about.length === 1) continue;
    findings.push({ what: "two bodies were accepted under one clientMsgID", device: undefined, about });
  }
  return findings;
}

/** A session goes on where it was to, upwards. */
function inspectSession(device: DeviceHistory, session: SessionHistory): Finding[] {
  const { afterSequence, resumeSequence, toldBefore, events } = session;
  const findings: Finding[] = [];
  const report = (what: string, ...about: string[]) => findings.push({ what, device, about });
  if (afterSequence !== undefined && resumeSequence !== afterSequence) {
    report(`a session after ${afterSequence} resumed after ${resumeSequence}`);
  }
  if (resumeSequence > Math.max(toldBefore, afterSequence ?? 0)) {
    report(`a session resumed after ${resumeSequence}, but the device had acknowledged ${toldBefore} at most`);
  }
  let last = resumeSequence;
  for (const event of events) {
    const data = "data" in event ? [event.data] : [];
    if (event.kind === "gap" || event.kind === "other") report(`${event.kind}: ${event.about}`);
    if (event.kind === "push") {
      if (event.sequence !== 0) report(`an online push had the sequence ${event.sequence}`, ...data);
      continue;
    }
    if (event.sequence <= last) report(`sequence ${event.sequence} came after ${last}`, ...data);
    last = Math.max(last, event.sequence);
  }
  return findings;
}

/** What arrives was sent, to this user, and was not refused; an online push arrives once. */
function inspectArrivals({ sends, groups }: History, device: DeviceHistory): Finding[] {
  const findings: Finding[] = [];
  const pushed = new Set<string>();
  for (const event of device.sessions.flatMap(({ events }) => events)) {
    if (!("data" in event) || event.kind === "recall") continue;
    const { data, kind } = event;
    const report = (what: string) => findings.push({ what, device, about: [data] });
    const send = sends.get(data);
    if (send === undefined) {
      report("nobody sent this");
      continue;
    }
    if (!kindsOf(send).includes(kind)) report(`sent with level ${send.level}, it arrived as a ${kind}`);
    if (send.attempts.some(({ outcome }) => outcome === "refused")) report("what was refused arrived");
    if (kind === "push" && pushed.size === pushed.add(data).size) report("an online push arrived twice");
    if (send.recvGroupId === "") {
      if (send.recvUserId !== device.userId) report(`what was sent to ${send.recvUserId} arrived`);
      continue;
    }
    const group = groups.get(send.recvGroupId);
    const from = firstStart(send) - (kind === "push" ? leaveGraceMs : 0);
    const until = acceptance(send)?.until ?? Number.POSITIVE_INFINITY;
    if (group === undefined || membership(group, device.userId, from, until) === "never") {
      report(`what was sent to ${send.recvGroupId} arrived at a user who was not a member`);
    }
  }
  return findings;
}

/** What a send brings its recipients. */
function kindsOf({ level, sendMsg }: Send): SessionEvent["kind"][] {
  return [level === 1 ? "push" : "notification", ...(sendMsg ? (["message"] as const) : [])];
}

/** What was recalled does not arrive in a session that is opened later, and who has it is told. */
function inspectRecalls({ sends }: History, device: DeviceHistory): Finding[] {
  const findings: Finding[] = [];
  const told = new Set<string>();
  for (const event of device.sessions.flatMap(({ events }) => events)) {
    if (event.kind !== "recall") continue;
    told.add(event.data);
    const isAsked = (sends.get(event.data)?.recalls ?? []).some(({ outcome }) => outcome !== "refused");
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
      if (openedAt > recalledAt)
        findings.push({ what: "a session that was opened after the recall got it", device, about });
      if (!told.has(event.data)) missing.add(event.data);
    }
  }
  for (const data of missing)
    findings.push({ what: "the device has it, and is not told of the recall", device, about: [data], mayCome: true });
  return findings;
}

/** When the recall of a send that was accepted before was answered. */
function recallOf(send: Send): number | undefined {
  const accepted = acceptance(send);
  const recalls = send.recalls.filter(
    ({ outcome, startedAt }) => outcome === "accepted" && accepted !== undefined && startedAt > accepted.until,
  );
  return recalls.length === 0 ? undefined : Math.min(...recalls.map(({ endedAt }) => endedAt));
}

/** What was accepted arrives, all but online pushes. */
function inspectLosses({ sends, groups }: History, device: DeviceHistory): Finding[] {
  const received = new Set(device.sessions.flatMap(({ events }) => events.map(toItem)));
  const isRecipient = (send: Send): boolean => {
    const accepted = acceptance(send);
    if (accepted === undefined) return false;
    if (send.recvGroupId === "") return send.recvUserId === device.userId;
    const group = groups.get(send.recvGroupId);
    return group !== undefined && membership(group, device.userId, accepted.from, accepted.until) === "always";
  };
  return [...sends.values()]
    .filter(({ recalls }) => recalls.length === 0)
    .filter(isRecipient)
    .flatMap((send) => {
      const lost = kindsOf(send).filter((kind) => kind !== "push" && !received.has(`${kind} ${send.data}`));
      return lost.map((kind) => {
        const what = `a ${kind} that was accepted did not arrive`;
        return { what, device, about: [send.data], mayCome: true } as const;
      });
    });
}

function toItem(event: SessionEvent): string {
  return "data" in event ? `${event.kind} ${event.data}` : event.kind;
}

/** All devices of a user see the same in the same place, and nothing in two. `places` collects it, by user. */
function inspectPlaces(device: DeviceHistory, places: Map<string, Map<number, string>>): Finding[] {
  const findings: Finding[] = [];
  const ofUser = places.get(device.userId) ?? new Map<number, string>();
  places.set(device.userId, ofUser);
  const placeOf = new Map([...ofUser].map(([sequence, item]) => [item, sequence]));
  for (const event of device.sessions.flatMap(({ events }) => events)) {
    if (!("data" in event) || event.kind === "push") continue;
    const { sequence, data } = event;
    const item = toItem(event);
    const there = ofUser.get(sequence);
    const first = placeOf.get(item);
    if (there === undefined && first === undefined) {
      ofUser.set(sequence, item);
      placeOf.set(item, sequence);
    } else if (there !== item) {
      const about = [data, ...(there === undefined ? [] : [there.replace(/^\S+ /, "")])];
      const what =
        first === undefined
          ? `sequence ${sequence} is a ${item} and a ${there}`
          : `the same ${event.kind} has the sequences ${first} and ${sequence}`;
      findings.push({ what, device, about });
    }
  }
  return findings;
}

/**
 * A send that was answered before another began comes before it, when it was to the user, or when both were to the
 * same group: a send to a group is answered when it is queued.
 */
function inspectOrder(
  { sends, devices }: History,
  places: ReadonlyMap<string, ReadonlyMap<number, string>>,
): Finding[] {
  const findings: Finding[] = [];
  for (const [userId, ofUser] of places) {
    const device = devices.find((each) => each.userId === userId);
    /** Of what has a higher place: what was answered first, by recipient. */
    const earliest = new Map<string, { readonly until: number; readonly data: string }>();
    for (const [, item] of [...ofUser].sort(([a], [b]) => b - a)) {
      const send = item.startsWith("recall ") ? undefined : sends.get(item.replace(/^\S+ /, ""));
      if (send === undefined || device === undefined) continue;
      for (const recipient of new Set(["", send.recvGroupId])) {
        const later = earliest.get(recipient);
        if (later !== undefined && later.until < firstStart(send)) {
          findings.push({
            what: "it comes before what was answered before it was sent",
            device,
            about: [send.data, later.data],
          });
        }
      }
      const until = acceptance(send)?.until;
      if (until !== undefined && until < (earliest.get(send.recvGroupId)?.until ?? Number.POSITIVE_INFINITY)) {
        earliest.set(send.recvGroupId, { until, data: send.data });
      }
    }
  }
  return findings;
}
