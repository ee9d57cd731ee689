import type { StreamSpec } from "../broker/declare.ts";
import { toPartition } from "../broker/subjects.ts";

/** The stream of groups and their members. */
export const groupsStream = "GROUPS";

export const groupsSpecs: readonly StreamSpec[] = [
  {
    name: groupsStream,
    description: "groups, their members, and the groups of each user",
    subjects: ["group.*.info", "group.*.members.*", "joined.*.*"],
    // A subject's only message is the record; it is kept until it is replaced, or for the TTL that it was given.
    hasTtls: true,
  },
];

/** How many records hold the members of a group. Stored data depends on it; it never changes. */
const memberBuckets = 1_000;

/** A group and all its members: at most 1,001 subjects, so that one indexed read of the broker answers them. */
export function groupFilter(group: string): string {
  return `group.${group}.>`;
}

/** Where a group is described. */
export function groupInfoSubject(group: string): string {
  return `group.${group}.info`;
}

/** Where the membership of a user, and of others whose tokens share the bucket, is stored. */
export function groupMembersSubject(group: string, user: string): string {
  return `group.${group}.members.${toPartition(user, memberBuckets)}`;
}

/** How many users of a group with `memberCount` members share a record, on average. */
export function membersPerSubject(memberCount: number): number {
  return Math.max(1, memberCount / memberBuckets);
}

/** Where it is stored that a user is a member of a group. */
export function joinedSubject(user: string, group: string): string {
  return `joined.${user}.${group}`;
}

/** All groups of a user. */
export function joinedFilter(user: string): string {
  return `joined.${user}.*`;
}
