import type { Broker } from "../broker/connect.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { toToken } from "../broker/subjects.ts";
import { maxBatchMessages, type Revision, replace, type Write } from "../broker/write.ts";
import { deadlineIn } from "../deadline.ts";
import { failure } from "../errors.ts";
import { createTurns } from "../in-flight.ts";
import { groupInfoSubject, groupMembersSubject, joinedSubject, membersPerSubject } from "./layout.ts";
import { type GroupSnapshot, readGroup } from "./reads.ts";
import { encodeGroup, encodeMemberships, type GroupRecord, type Member, reviseMemberships } from "./records.ts";

/** What a change makes of a group. */
export interface GroupRevision {
  /** The group as it should be, but for version and memberCount. */
  readonly group: GroupRecord;
  readonly enter: readonly Member[];
  readonly leave: ReadonlySet<string>;
}

interface ChangeRequest {
  /** The users concerned; {@link takeChunk} says how many fit. */
  readonly userIds: readonly string[];
  /** The version that the group is known to have. */
  readonly minVersion: number;
  /**
   * Decides, from the group and who of the users is a member now; undefined changes nothing. Called again when
   * another change came first. What it throws ends the change. Who is to leave and to enter gets another membership.
   */
  revise(
    group: GroupRecord | undefined,
    memberIds: ReadonlySet<string>,
    members: readonly Member[],
  ): GroupRevision | undefined;
}

interface ChangeOptions {
  /** How long a change may take with all its tries, in milliseconds. */
  readonly timeoutMs: number;
  /** How long the end of a membership is remembered, in milliseconds. */
  readonly historyMs: number;
}

/**
 * Changes in work at once: the broker stores batches one after the other, so that more of them would only use up their
 * time in its queue.
 */
const maxChangesAtOnce = 8;

/** The largest record of members, in bytes: the broker's usual max_payload of 1 MiB, less headers. */
const maxRecordBytes = 1_040_000;

/** The records of members in a batch add up to about this, in bytes. */
const maxBatchBytes = 4_194_304;

/** About what a member takes in a record, in bytes. */
const memberBytes = 112;

/**
 * Creates the one way in which groups change. It resolves to the group as it is then; to undefined when there is none.
 * All of a change is stored or none, and no other change comes between its reading and its writing.
 *
 * Throws NetworkError (90004) when the broker has not acknowledged in time; the change is stored or not.
 */
export function createChangeGroup(broker: Broker, get: DirectGet, { timeoutMs, historyMs }: ChangeOptions) {
  const inTurn = createTurns(maxChangesAtOnce);

  const change = (groupId: string, { userIds, minVersion, revise }: ChangeRequest) => {
    const subjects = [...new Set(userIds.map((userId) => membersSubject(groupId, userId)))];
    const concerned = new Set(userIds);
    const deadline = deadlineIn(timeoutMs);
    return replace<GroupRecord | undefined>(broker, deadline, async () => {
      const snapshot = await readGroup(get, groupId, { subjects, minVersion, deadline });
      const members = membersAmong(concerned, snapshot);
      const revision = revise(snapshot.group, new Set(members.map(({ userId }) => userId)), members);
      if (revision === undefined) return { writes: [], answer: snapshot.group };
      return toRevision(snapshot, revision, historyMs);
    });
  };

  return (groupId: string, request: ChangeRequest) => inTurn(groupId, () => change(groupId, request));
}

/** Sorts users so that those who share a record of members follow each other. */
export function inRecordOrder<U extends { readonly userId: string }>(groupId: string, users: readonly U[]): U[] {
  return [...Map.groupBy(users, ({ userId }) => membersSubject(groupId, userId)).values()].flat();
}

/** The users from `start` on that one batch can change. */
export function takeChunk<U extends { readonly userId: string }>(
  { groupId, memberCount }: { readonly groupId: string; readonly memberCount: number },
  users: readonly U[],
  start: number,
): U[] {
  const maxRecords = Math.max(1, Math.floor(maxBatchBytes / (membersPerSubject(memberCount) * memberBytes)));
  const records = new Set<string>();
  let end = start;
  for (; end < users.length; end++) {
    const user = users[end];
    if (user !== undefined) records.add(membersSubject(groupId, user.userId));
    // Each user has one more message, and so has the group.
    if (end > start && (records.size > maxRecords || records.size + end - start + 2 > maxBatchMessages)) break;
  }
  return users.slice(start, end);
}

function membersSubject(groupId: string, userId: string): string {
  return groupMembersSubject(toToken(groupId), toToken(userId));
}

function membersAmong(concerned: ReadonlySet<string>, { memberships }: GroupSnapshot): Member[] {
  return [...memberships.values()].flat().filter(({ userId, to }) => to === undefined && concerned.has(userId));
}

function toRevision(
  { sequence, memberships, group: before }: GroupSnapshot,
  revision: GroupRevision,
  historyMs: number,
): Revision<GroupRecord> {
  const { enter, leave } = revision;
  const version = (before?.version ?? 0) + 1;
  const memberCount = (before?.memberCount ?? 0) + enter.length - leave.size;
  const group: GroupRecord = { ...revision.group, version, memberCount };
  const groupToken = toToken(group.groupId);
  const nowMs = Date.now();
  const writes: Write[] = [];

  const entering = Map.groupBy(enter, ({ userId }) => membersSubject(group.groupId, userId));
  const leaving = Map.groupBy(leave, (userId) => membersSubject(group.groupId, userId));
  for (const subject of new Set([...entering.keys(), ...leaving.keys()])) {
    const revised = reviseMemberships(memberships.get(subject) ?? [], {
      version,
      nowMs,
      enter: entering.get(subject) ?? [],
      leave,
      historyMs,
    });
    const payload = encodeMemberships(revised);
    if (payload.length > maxRecordBytes) throw failure("ArgsError", "the group has no room for more members");
    // What says that a user has left expires after the history, not sooner: a broker that is killed finds what was
    // overwritten again, and knows it for old by what overwrote it. Had that expired by then, the user would be a member
    // again. A broker writes down what it has removed every few minutes.
    const isHistory = revised.every(({ to }) => to !== undefined);
    writes.push({ subject, payload, ttlMs: isHistory ? historyMs : undefined });
  }
  for (const { userId } of enter) {
    writes.push({ subject: joinedSubject(toToken(userId), groupToken), payload: Buffer.from(group.groupId) });
  }
  const entered = new Set(enter.map(({ userId }) => userId));
  for (const userId of leave) {
    if (entered.has(userId)) continue;
    const subject = joinedSubject(toToken(userId), groupToken);
    writes.push({ subject, payload: new Uint8Array(), ttlMs: historyMs });
  }
  // Last, so that it is the newest record of the group: a copy of the stream that has it has all of the change.
  writes.push({ subject: groupInfoSubject(groupToken), payload: encodeGroup(group), replaces: sequence });
  return { writes, answer: group };
}
