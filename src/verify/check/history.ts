/** A call as its caller saw it; times are of one clock, in milliseconds. */
export interface Call {
  /** Who called. */
  readonly by: string;
  readonly startedAt: number;
  readonly endedAt: number;
  /** `unknown`: no answer, or one that says that it is not known. */
  readonly outcome: "accepted" | "refused" | "unknown";
  readonly errCode: number;
  /** What an accepted send was answered; else empty. */
  readonly serverMsgId: string;
  /** Where in which batch it was, when it was not alone. */
  readonly batch?: { readonly name: string; readonly index: number };
}

/** What was sent, with all calls about it. Its `data` is in no other. */
export interface Send {
  readonly data: string;
  /** As the sender gave it; empty for one that the service made. */
  readonly clientMsgId: string;
  readonly recvUserId: string;
  readonly recvGroupId: string;
  /** A list of users; empty for a send to one or to a group. */
  readonly recvUserIds: readonly string[];
  /** The only device of the user that it is for, and the only one that it is not for; empty: for all. */
  readonly recvDeviceId: string;
  readonly exceptDeviceId: string;
  readonly level: 1 | 2;
  /** Whether a chat copy was asked for. */
  readonly sendMsg: boolean;
  /** Whether the first device of a user that acknowledges it settles it for the others. */
  readonly isSettledByOne: boolean;
  /** What it replaces: earlier ones of this key to the same recipient. Empty: nothing. */
  readonly collapseKey: string;
  /** How long after it is due it is worth delivering, in seconds; 0: as long as it is kept. */
  readonly ttlSeconds: number;
  /** When it is to be sent, in milliseconds since the Unix epoch; 0: at once. */
  readonly sendAt: number;
  /** The same moment by the clock of the history; 0: at once. */
  readonly dueAt: number;
  readonly attempts: Call[];
  readonly recalls: Call[];
}

/** That users were added to, or removed from, a group. The changes of a group do not overlap. */
export interface Change {
  readonly userIds: readonly string[];
  readonly joined: boolean;
  readonly startedAt: number;
  /** Infinity for one that nobody knows the outcome of. */
  readonly endedAt: number;
}

/** A group that the first members were in before anything else happened. */
export interface GroupHistory {
  readonly firstMembers: ReadonlySet<string>;
  readonly changes: Change[];
}

/** What a session got. */
export type SessionEvent = {
  readonly at: number;
  readonly sequence: number;
} /** `push` is an online push, `message` a chat copy. */ & (
  | { readonly kind: "notification" | "push" | "message" | "recall"; readonly data: string }
  /** Another device has acknowledged it; `wasSent`: after it had come in this session, and else in its place. */
  | { readonly kind: "settled"; readonly data: string; readonly wasSent: boolean }
  /** From a sequence up to that of the event; `expired` when that is the reason. */
  | { readonly kind: "gap"; readonly from: number; readonly reason: number }
  | { readonly kind: "other"; readonly about: string }
);

/** The reason of a gap for what has expired: that of the protocol. */
export const expiredReason = 2;

/** What a device may get. */
export type EventKind = SessionEvent["kind"];

/** A session of a device. */
export interface SessionHistory {
  readonly openedAt: number;
  /** The instance that served it. */
  readonly on: string;
  /** What the device asked for; undefined: after its cursor. */
  readonly afterSequence: number | undefined;
  /** What the service answered. */
  readonly resumeSequence: number;
  /** The highest sequence that the device had told the service before, by an acknowledgement or as its record. */
  readonly toldBefore: number;
  readonly events: SessionEvent[];
  endedAt: number;
  /** Why it ended. */
  end: string;
}

/** How a device receives: by a protocol of ours, by that of OpenIM's SDKs, or by a consumer of its own at the broker. */
export type DeviceKind = "own" | "openim" | "native";

/** What a device is told of, by how it receives; `gap` and `settled` are told in the place of a notification. */
export const heardBy: Readonly<Record<DeviceKind, ReadonlySet<EventKind>>> = {
  own: new Set(["notification", "push", "message", "recall", "settled", "gap"]),
  openim: new Set(["notification", "push"]),
  native: new Set(["notification", "message", "recall"]),
};

/** That a device has handled everything up to a sequence. */
export interface Acknowledgement {
  readonly sequence: number;
  /** When it began to say so. */
  readonly at: number;
  /** When that was answered; Infinity for what is not answered. */
  until: number;
}

/** A device; at the end of the history it has read everything there was. */
export interface DeviceHistory {
  readonly userId: string;
  readonly deviceId: string;
  readonly kind: DeviceKind;
  readonly sessions: SessionHistory[];
  /** Each further than the one before; of OpenIM's SDKs, which say nothing of it, none. */
  readonly acknowledged: Acknowledgement[];
}

/** Everything that happened, as seen from outside. */
export interface History {
  /** By `data`. */
  readonly sends: Map<string, Send>;
  readonly groups: ReadonlyMap<string, GroupHistory>;
  readonly devices: readonly DeviceHistory[];
  /** The faults that happened. */
  readonly marks: { readonly at: number; readonly until: number; readonly what: string }[];
}

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

/** Since when and until when a send can have been accepted; undefined for one that never was answered. */
export function acceptance(send: Send): { readonly from: number; readonly until: number } | undefined {
  const accepted = send.attempts.filter(({ outcome }) => outcome === "accepted");
  if (accepted.length === 0) return undefined;
  return { from: firstStart(send), until: Math.min(...accepted.map(({ endedAt }) => endedAt)) };
}

/** Whether a send was recalled, or may have been. */
export function isRecalled({ recalls }: Send): boolean {
  return recalls.some(({ outcome }) => outcome !== "refused");
}

/** When it was sent for the first time. */
export function firstStart({ attempts }: Send): number {
  return Math.min(...attempts.map(({ startedAt }) => startedAt));
}

/** Whether a user was in a group from `from` to `until`: `sometimes` also when it is not known. */
export function membership(
  { firstMembers, changes }: GroupHistory,
  userId: string,
  from: number,
  until: number,
): "always" | "sometimes" | "never" {
  const seen = new Set<boolean>();
  let state: boolean | "either" = firstMembers.has(userId);
  let since = Number.NEGATIVE_INFINITY;
  const see = (to: number, value: boolean | "either") => {
    if (to < from || since > until) return;
    for (const each of value === "either" ? [true, false] : [value]) seen.add(each);
  };
  for (const { userIds, joined, startedAt, endedAt } of changes) {
    if (!userIds.includes(userId)) continue;
    see(startedAt, state);
    since = startedAt;
    // From its start on it may be done, and until its end it may not.
    see(endedAt, state === joined ? joined : "either");
    since = endedAt;
    state = joined;
  }
  see(Number.POSITIVE_INFINITY, state);
  if (seen.size === 2) return "sometimes";
  return seen.has(true) ? "always" : "never";
}
