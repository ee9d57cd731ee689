import { hash } from "node:crypto";
import type { StreamSpec } from "../broker/declare.ts";

/** The stream of sends to groups and lists that wait to be expanded. */
export const fanoutStream = "FANOUT";

/** The stream of sends that wait for their time. */
export const scheduleStream = "SCHEDULE";

/** All sends that wait for their time. */
export const scheduleFilter = "schedule.*";

/** All scheduled sends that are due. */
export const dueFilter = "due.*";

/**
 * Sends to groups and lists are expanded in this many lanes, each in order; more instances than lanes would have nothing
 * to do.
 */
export const lanes = 16;

/** The jobs of sends that are due. */
export const dueJobs = { stream: scheduleStream, durable: "due", filter: dueFilter } as const;

/**
 * The lane of what is sent to a group, or to a list. By a hash all of whose bits count: by that of partitions, groups that
 * are numbered share few lanes.
 */
export function laneOf({ groupId, recvUserIds }: { groupId: string; recvUserIds: readonly string[] }): number {
  return hash("sha256", groupId || recvUserIds.join(), "buffer").readUInt32BE() % lanes;
}

/** The jobs of a lane. */
export function fanoutJobs(lane: number) {
  return { stream: fanoutStream, durable: `fanout_${lane}`, filter: `fanout.${lane}.*` } as const;
}

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
    subjects: [scheduleFilter, dueFilter],
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

/** A send that waits for its time. */
export function scheduleSubject(send: string): string {
  return `schedule.${send}`;
}

/** A scheduled send whose time has come. */
export function dueSubject(send: string): string {
  return `due.${send}`;
}
