import type { StreamSpec } from "../broker/declare.ts";

/** The stream of sends to groups and lists that wait to be expanded. */
export const fanoutStream = "FANOUT";

/** The stream of sends that wait for their time. */
export const scheduleStream = "SCHEDULE";

/** All scheduled sends that are due. */
export const dueFilter = "due.*";

/** The sends that are not in the inboxes yet. */
export const sendingSpecs: readonly StreamSpec[] = [
  {
    name: fanoutStream,
    description: "sends to groups and lists that wait to be expanded",
    subjects: ["fanout.*.*"],
    isQueue: true,
    // A job is queued once: a second publish of it is refused while it waits.
    isWriteOnce: true,
  },
  {
    name: scheduleStream,
    description: "sends that wait for their time",
    subjects: ["schedule.*", dueFilter],
    // A second add replaces the first, which is the same.
    isQueue: true,
    hasSchedules: true,
    hasTtls: true,
  },
];

/** Where a send is recorded; the partition is that of its key, not of a user. */
export function sentSubject(partition: number, key: string): string {
  return `sent.${partition}.${key}`;
}

/** A send that is to be expanded. The lane keeps the sends of a group, or of the same list, in order. */
export function fanoutSubject(lane: number, id: string): string {
  return `fanout.${lane}.${id}`;
}

/** A lane's sends. */
export function fanoutFilter(lane: number): string {
  return `fanout.${lane}.*`;
}

/** A send that waits for its time. */
export function scheduleSubject(send: string): string {
  return `schedule.${send}`;
}

/** A scheduled send whose time has come. */
export function dueSubject(send: string): string {
  return `due.${send}`;
}
