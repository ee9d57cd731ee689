import type { DirectGet, DirectMessage } from "../broker/reads/direct-get.ts";
import { toToken } from "../broker/subjects.ts";
import { again, until } from "../broker/until.ts";
import { type Deadline, deadlineIn } from "../deadline.ts";
import { groupFilter, groupInfoSubject, groupMembersSubject, groupsStream } from "./layout.ts";
import { decodeGroup, decodeMemberships, type GroupRecord, type Membership } from "./records.ts";

/** Records of a group at one moment. */
export interface GroupSnapshot {
  /** Undefined when there is none. */
  readonly group: GroupRecord | undefined;
  /** The sequence of the info record; 0 without one. */
  readonly sequence: number;
  /** The records of members that were read, by subject. */
  readonly memberships: ReadonlyMap<string, readonly Membership[]>;
}

interface GroupQuery {
  /** What to read, besides the info record. */
  readonly subjects: readonly string[];
  /** Only what was stored after this sequence. Default 0. */
  readonly after?: number;
  /** A copy of the stream that does not have this version of the group yet is not believed. 0: any will do. */
  readonly minVersion: number;
  /** When to give up. */
  readonly deadline: Deadline;
}

/** A page ends with the record that reaches this size, in bytes. */
const maxPageBytes = 4_194_304;

/**
 * Reads records of a group, all as they were at one moment.
 *
 * @throws NetworkError (90004) when the broker does not answer, or does not have the version, in time.
 */
export function readGroup(
  get: DirectGet,
  groupId: string,
  { subjects, after = 0, minVersion, deadline }: GroupQuery,
): Promise<GroupSnapshot> {
  const infoSubject = groupInfoSubject(toToken(groupId));
  return until(deadline, async () => {
    const records = await readLast(get, [infoSubject, ...subjects], { after, deadline });
    const info = records.get(infoSubject);
    const group = info && decodeGroup(info.payload);
    // A copy of the stream that does not have the version yet: another is asked.
    if ((group?.version ?? 0) < minVersion) return again;
    records.delete(infoSubject);
    const memberships = records.values().map(({ subject, payload }) => [subject, decodeMemberships(payload)] as const);
    return { group, sequence: info?.sequence ?? 0, memberships: new Map(memberships) };
  });
}

/**
 * The newest records of these subjects, by subject, as far as they are newer than `after`.
 *
 * @throws NetworkError (90004) when the broker does not answer in time.
 */
export function readLast(
  get: DirectGet,
  subjects: readonly string[],
  { after, deadline }: { readonly after: number; readonly deadline: Deadline },
): Promise<Map<string, DirectMessage>> {
  return until(deadline, async () => {
    const records = new Map<string, DirectMessage>();
    let seq = after + 1;
    let upToSequence = 0;
    for (;;) {
      const page = await get.index(groupsStream, subjects, { from: seq, maxBytes: maxPageBytes });
      if (page === undefined) throw new RangeError("more than 1,024 records");
      // This page came from a copy that is behind the first page's: a record that is newer there may be on neither.
      if ((page.upToSequence ?? 0) < upToSequence) return again;
      upToSequence = page.upToSequence ?? 0;
      for (const message of page.messages) records.set(message.subject, message);
      if (page.pending === 0 || page.messages.length === 0) return records;
      seq = (page.messages.at(-1)?.sequence ?? seq) + 1;
    }
  });
}

/** How users stand to a group, as it was at one moment. */
export interface Standing {
  /** Of the group. */
  readonly version: number;
  /** What is stored later has a higher one. */
  readonly sequence: number;
  /** The first version with the user, as far as anything was read; undefined for who is no member. */
  readonly since: ReadonlyMap<string, number | undefined>;
}

/** Of which users: some, or those in whose records something was stored after a sequence. */
export type StandingQuery = { readonly minVersion: number } & (
  | { readonly userIds: readonly string[] }
  | { readonly after: number }
);

/**
 * Reads how users stand to a group, at a version of it or a later one.
 *
 * Throws NetworkError (90004) when the broker does not answer, or does not have the version, in time.
 */
export type ReadStanding = (groupId: string, query: StandingQuery) => Promise<Standing>;

/** Creates the {@link ReadStanding}; a read may take so many milliseconds. */
export function createReadStanding(get: DirectGet, timeoutMs: number): ReadStanding {
  return async (groupId, query) => {
    const group = toToken(groupId);
    const subjects =
      "userIds" in query
        ? [...new Set(query.userIds.map((userId) => groupMembersSubject(group, toToken(userId))))]
        : [groupFilter(group)];
    const { minVersion } = query;
    const after = "after" in query ? query.after : 0;
    const read = await readGroup(get, groupId, { subjects, after, minVersion, deadline: deadlineIn(timeoutMs) });
    const since = new Map<string, number | undefined>();
    for (const { userId, from, to } of [...read.memberships.values()].flat()) {
      if (to === undefined) since.set(userId, from);
      else if (!since.has(userId)) since.set(userId, undefined);
    }
    return { version: read.group?.version ?? 0, sequence: read.sequence, since };
  };
}
