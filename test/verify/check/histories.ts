import type {
  Call,
  DeviceHistory,
  GroupHistory,
  History,
  Send,
  SessionEvent,
  SessionHistory,
} from "../../../src/verify/check/history.ts";

/** Between these, everything happens. */
const [start, end] = [0, 100_000];

export function call(
  startedAt: number,
  endedAt: number,
  outcome: Call["outcome"] = "accepted",
  more: Partial<Call> = {},
): Call {
  const errCode = { accepted: 0, refused: 1004, unknown: 90004 }[outcome];
  return {
    by: "sender",
    startedAt,
    endedAt,
    outcome,
    errCode,
    serverMsgId: outcome === "accepted" ? "id" : "",
    ...more,
  };
}

/** A send to ann that was answered from 10 to 20. */
export function send(data: string, more: Partial<Send> = {}): Send {
  const sent = {
    data,
    clientMsgId: "",
    recvUserId: "ann",
    recvGroupId: "",
    recvUserIds: [],
    recvDeviceId: "",
    exceptDeviceId: "",
    level: 2,
    sendMsg: false,
    isSettledByOne: false,
    collapseKey: "",
    ttlSeconds: 0,
    sendAt: 0,
    dueAt: 0,
    attempts: [call(10, 20)],
  } as const;
  return { ...sent, recalls: [], ...more, attempts: [...(more.attempts ?? sent.attempts)] };
}

export const toGroup = { recvUserId: "", recvGroupId: "team" } as const;

export function got(
  sequence: number,
  data: string,
  kind: "notification" | "push" | "message" | "recall" = "notification",
) {
  return { at: 50, kind, sequence, data };
}

export function session(events: readonly SessionEvent[], more: Partial<SessionHistory> = {}): SessionHistory {
  const opened = { openedAt: start, on: "instance 0", afterSequence: undefined, resumeSequence: 0, toldBefore: 0 };
  return { ...opened, events: [...events], endedAt: end, end: "", ...more };
}

export function device(sessions: readonly SessionHistory[], more: Partial<DeviceHistory> = {}): DeviceHistory {
  return { userId: "ann", deviceId: "phone", kind: "own", acknowledged: [], ...more, sessions: [...sessions] };
}

/** The history of ann's phone, and of other devices. */
export function historyOf(
  sends: readonly Send[],
  sessions: readonly SessionHistory[],
  team?: GroupHistory,
  others: readonly DeviceHistory[] = [],
): History {
  return {
    sends: new Map(sends.map((each) => [each.data, each])),
    groups: new Map(team === undefined ? [] : [["team", team]]),
    devices: [device(sessions), ...others],
    marks: [],
  };
}

export function teamOf(
  isFirst: boolean,
  ...changes: [joined: boolean, startedAt: number, endedAt: number][]
): GroupHistory {
  return {
    firstMembers: new Set(isFirst ? ["ann"] : []),
    changes: changes.map(([joined, startedAt, endedAt]) => ({ userIds: ["ann"], joined, startedAt, endedAt })),
  };
}
