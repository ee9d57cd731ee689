import type { StreamSpec } from "../broker/declare.ts";

/** Everything that concerns the live sessions of a user. */
export function liveFilter(partition: number, user: string): string {
  return `live.${partition}.${user}.>`;
}

/** Carries the body of an online push. */
export function pushSubject(partition: number, user: string): string {
  return `live.${partition}.${user}.push`;
}

/** Has the user's sessions look into the inbox. */
export function wakeSubject(partition: number, user: string): string {
  return `live.${partition}.${user}.wake`;
}

/** Tells that the user has joined or left a group. */
export function memberSubject(partition: number, user: string): string {
  return `live.${partition}.${user}.member`;
}

/** Asks which sessions the user has. */
export function whoSubject(partition: number, user: string): string {
  return `live.${partition}.${user}.who`;
}

/** Where the answers to a question are sent: below `live`, which accounts may use already, and no user's. */
export function liveAnswerFilter(question: string): string {
  return `live.answer.${question}.*`;
}

/** Where the answers about one of those are sent who are asked about. */
export function liveAnswerSubject(question: string, index: number): string {
  return `live.answer.${question}.${index}`;
}

/** About whom a {@link liveAnswerSubject} is. */
export function parseLiveAnswer(subject: string): number {
  return Number(subject.slice(subject.lastIndexOf(".") + 1));
}

/** Carries the body of an online push to a group. */
export function groupPushSubject(group: string): string {
  return `push.group.${group}`;
}

/** The version of the group that an online push to it is for. */
export const groupVersionHeader = "Mustreach-Group-Version";

/** Carries an acknowledgement to the instance that holds the device's session. */
export function ackSubject(partition: number, user: string, device: string): string {
  return `live.${partition}.${user}.ack.${device}`;
}

/** Tells that a device has acknowledged notifications for its user. */
export function settledSubject(partition: number, user: string): string {
  return `live.${partition}.${user}.settled`;
}

/** Tells that a device has a session, and its place in the order of the device's sessions. */
export function liveSessionSubject(partition: number, user: string, device: string): string {
  return `live.${partition}.${user}.session.${device}`;
}

/** What a message on a {@link liveFilter} subject is. */
export type LiveSignal =
  | { readonly kind: "push" | "hint" | "wake" | "member" | "who" | "settled" }
  | { readonly kind: "ack" | "session"; readonly device: string };

/** Reads a `live.<p>.<user>.…` subject; undefined for one that this version does not know. */
export function parseLiveSubject(subject: string): LiveSignal | undefined {
  const [, , , kind, device] = subject.split(".");
  switch (kind) {
    case "push":
    case "hint":
    case "wake":
    case "member":
    case "who":
    case "settled":
      return { kind };
  }
  if ((kind === "ack" || kind === "session") && device !== undefined) return { kind, device };
  return undefined;
}

/** The stream that orders the sessions of a device. */
export const sessionStream = "SESSIONS";

/** Holds, in {@link sessionStream}, where the sequences of the broker's present life begin. */
export const sessionEpochSubject = "session.epoch";

/** Where the opening of a session is recorded. */
export function sessionSubject(partition: number, user: string, device: string): string {
  return `session.${partition}.${user}.${device}`;
}

/** The order of sessions. It is declared again whenever it is gone, and not with the others. */
export const sessionSpec: StreamSpec = {
  name: sessionStream,
  description: "the order in which sessions of devices are opened",
  subjects: [sessionEpochSubject, "session.*.*.*"],
  // A device that connects must not wait for a disk, nor fail for a full one. A broker forgets such a stream when it is
  // restarted.
  isInMemory: true,
  hasTtls: true,
  republish: { src: "session.*.*.*", dest: "live.{{wildcard(1)}}.{{wildcard(2)}}.session.{{wildcard(3)}}" },
};

/**
 * On disk: where it has replicas, or the account no memory. With replicas in memory, nodes that were restarted had forgotten
 * what they had agreed to, and there was no leader any more, or one that nobody followed (nats-server 2.15.2, found by
 * `verify`).
 */
export const storedSessionSpec: StreamSpec = { ...sessionSpec, isInMemory: false };

/** The stream that counts how often what the broker keeps in memory began anew. */
export const epochStream = "EPOCHS";

/** What {@link epochStream} counts for {@link sessionStream}. */
export const epochSubject = "epoch.sessions";

export const liveSpecs: readonly StreamSpec[] = [
  { name: epochStream, description: "how often what is kept in memory began anew", subjects: [epochSubject] },
];
