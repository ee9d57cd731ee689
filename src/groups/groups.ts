import { randomUUID } from "node:crypto";
import type { Broker } from "../broker/connect.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { askLeader } from "../broker/reads/leader.ts";
import { toToken } from "../broker/subjects.ts";
import { untilAnswered } from "../broker/until.ts";
import { deadlineIn } from "../deadline.ts";
import { wrongField } from "../errors.ts";
import { createChangeGroup, type GroupRevision, inRecordOrder, takeChunk } from "./change.ts";
import { groupInfoSubject, groupsStream, joinedFilter } from "./layout.ts";
import { createMembersAt, type MembersAt } from "./members-at.ts";
import { createReadStanding, type ReadStanding, readLast } from "./reads.ts";
import {
  decodeGroup,
  type Group,
  type GroupProfile,
  type GroupRecord,
  type Member,
  noProfile,
  type Role,
  requireActive,
  requireFound,
  roles,
  toGroup,
} from "./records.ts";

export { type Group, type Member, type Role, roles } from "./records.ts";

/** A group that does not exist yet. */
export interface NewGroup extends Partial<GroupProfile> {
  readonly groupId: string;
  readonly ownerUserId: string;
  readonly creatorUserId: string;
  /** Besides the owner; nobody twice. */
  readonly members: readonly { readonly userId: string; readonly role: Role }[];
}

/** Users who are, or no longer are, members of a group. */
export interface MembershipChange {
  readonly groupId: string;
  /** Of the group with this change: of two changes, the one with the higher version counts. */
  readonly version: number;
  readonly joined: boolean;
  /** At most 1,000. */
  readonly userIds: readonly string[];
}

export interface GroupsOptions {
  /** How long a single read or write may take, in milliseconds. */
  readonly timeoutMs: number;
  /**
   * How long {@link Groups.membersAt} knows of members who have left, in milliseconds: longer than what was sent to
   * the group may take to be expanded, and than the broker takes to write down what it has removed. Default: 24 hours.
   */
  readonly historyMs?: number;
  /** How many members are kept in memory, over all groups. Default 1,000,000. */
  readonly maxCachedMembers?: number;
  /**
   * Called after each stored part of a change, with all users whom the caller named, also those who were members, or
   * not, already: a caller that was not answered repeats the change, and perhaps nobody was told. Must not throw.
   */
  readonly onMembershipChange?: (change: MembershipChange) => void;
}

/**
 * The groups and their members. Methods that change a group throw RecordNotFoundError (1004) for an unknown one and
 * DismissedAlreadyError (1204) for a dismissed one. All throw NetworkError (90004) when the broker does not answer in
 * time; a change is then stored in part, each part whole, and calling again completes it.
 */
export interface Groups {
  /** A group as it is now: every change that was answered, by whichever instance, is in it. */
  find(groupId: string): Promise<Group | undefined>;
  /**
   * Creates a group, and resolves to it; to undefined when the id is taken, also by a dismissed group. The first 499
   * members at least are there from its first version, more follow part by part.
   */
  create(group: NewGroup): Promise<Group | undefined>;
  /** Ends a group, and removes its members if wanted. */
  dismiss(groupId: string, options: { readonly deleteMembers: boolean }): Promise<void>;
  /** Adds users with a role; those who are members stay as they are. All get the same join time. */
  add(groupId: string, userIds: readonly string[], role: Role): Promise<void>;
  /** Removes users; those who are not members are passed over. Throws ArgsError (1001) for the owner. */
  remove(groupId: string, userIds: readonly string[]): Promise<void>;
  /**
   * Makes a member the owner, and the owner a member. Throws ArgsError (1001) when they are not that, but nothing when it
   * was done before.
   */
  transfer(groupId: string, owners: { readonly from: string; readonly to: string }): Promise<void>;
  /** The members at a version that {@link find} answered, also after they left or the group was dismissed. */
  membersAt: MembersAt;
  standing: ReadStanding;
  /** The groups that a user is a member of, without dismissed ones, by group id. */
  joined(userId: string): Promise<readonly Group[]>;
}

/** Users in one call of `onMembershipChange`. */
const maxSignalUsers = 1_000;

/** Info records in one read; 1,024 would be answered. */
const infosPerRead = 1_000;

export function createGroups(broker: Broker, get: DirectGet, options: GroupsOptions): Groups {
  const { timeoutMs, historyMs = 86_400_000, onMembershipChange = () => {} } = options;
  const change = createChangeGroup(broker, get, { timeoutMs, historyMs });
  const membersAt = createMembersAt(get, options);
  const standing = createReadStanding(get, timeoutMs);

  const find = async (groupId: string): Promise<Group | undefined> => {
    const subject = groupInfoSubject(toToken(groupId));
    const message = await untilAnswered(broker, deadlineIn(timeoutMs), () =>
      askLeader(broker, groupsStream, { last: subject }),
    );
    return message && toGroup(decodeGroup(message.payload));
  };

  /** Changes the membership of any number of users, as many at a time as one batch holds; resolves to the group then. */
  const changeMembers = async <U extends { readonly userId: string }>(
    before: Group,
    users: readonly U[],
    joined: boolean,
    revise: (group: GroupRecord, chunk: readonly U[], memberIds: ReadonlySet<string>) => GroupRevision,
  ): Promise<Group> => {
    const { groupId } = before;
    const ordered = inRecordOrder(groupId, users);
    let group = before;
    for (let start = 0; start < ordered.length; ) {
      const chunk = takeChunk(group, ordered, start);
      const userIds = chunk.map(({ userId }) => userId);
      const changed = await change(groupId, {
        userIds,
        minVersion: group.version,
        revise(current, memberIds) {
          const revision = revise(requireFound(current), chunk, memberIds);
          return revision.enter.length + revision.leave.size === 0 ? undefined : revision;
        },
      });
      group = toGroup(requireFound(changed));
      onMembershipChange({ groupId, version: group.version, joined, userIds });
      start += chunk.length;
    }
    return group;
  };

  const addMembers = (to: Group, members: readonly Member[]) =>
    changeMembers(to, members, true, (group, chunk, memberIds) => ({
      group: requireActive(group),
      enter: chunk.filter(({ userId }) => !memberIds.has(userId)),
      leave: new Set(),
    }));

  const removeMembers = (from: Group, userIds: readonly string[]) =>
    changeMembers(
      from,
      userIds.map((userId) => ({ userId })),
      false,
      (group, _, memberIds) => ({
        group: from.status === "dismissed" ? group : requireActive(group),
        enter: [],
        leave: memberIds,
      }),
    );

  return {
    find,
    membersAt,
    standing,

    async create({ members, ...described }) {
      const { groupId, ownerUserId } = described;
      const changeId = randomUUID();
      const createTime = Date.now();
      const all: Member[] = [{ userId: ownerUserId, role: roles.owner }, ...inRecordOrder(groupId, members)].map(
        ({ userId, role }) => ({ userId, role, joinTime: createTime }),
      );
      const enter = takeChunk({ groupId, memberCount: 0 }, all, 0);
      const userIds = enter.map(({ userId }) => userId);
      const created = await change(groupId, {
        userIds,
        minVersion: 0,
        revise(taken) {
          if (taken !== undefined) return undefined;
          const group = {
            ...noProfile,
            ...described,
            createTime,
            changeId,
            memberCount: 0,
            status: "active",
            version: 0,
          } as const;
          return { group, enter, leave: new Set() };
        },
      });
      if (created?.changeId !== changeId) return undefined;
      onMembershipChange({ groupId, version: created.version, joined: true, userIds });
      return addMembers(toGroup(created), all.slice(enter.length));
    },

    async dismiss(groupId, { deleteMembers }) {
      const { version } = requireActive(await find(groupId));
      const changeId = randomUUID();
      const dismissed = await change(groupId, {
        userIds: [],
        minVersion: version,
        revise(group) {
          if (group?.changeId === changeId) return undefined;
          return { group: { ...requireActive(group), status: "dismissed", changeId }, enter: [], leave: new Set() };
        },
      });
      const group = toGroup(requireFound(dismissed));
      const userIds = (await membersAt(groupId, group.version)).map(({ userId }) => userId);
      if (deleteMembers) {
        await removeMembers(group, userIds);
        return;
      }
      for (let start = 0; start < userIds.length; start += maxSignalUsers) {
        const chunk = userIds.slice(start, start + maxSignalUsers);
        onMembershipChange({ groupId, version: group.version, joined: false, userIds: chunk });
      }
    },

    async add(groupId, userIds, role) {
      const joinTime = Date.now();
      const members = [...new Set(userIds)].map((userId) => ({ userId, role, joinTime }));
      await addMembers(requireActive(await find(groupId)), members);
    },

    async remove(groupId, userIds) {
      const group = requireActive(await find(groupId));
      if (userIds.includes(group.ownerUserId)) throw wrongField("kickedUserIDs", "the owner cannot be removed");
      await removeMembers(group, [...new Set(userIds)]);
    },

    async transfer(groupId, { from, to }) {
      const { version } = requireActive(await find(groupId));
      await change(groupId, {
        userIds: [from, to],
        minVersion: version,
        revise(current, memberIds, members) {
          const group = requireActive(current);
          if (group.ownerUserId === to && memberIds.has(from)) return undefined;
          if (group.ownerUserId !== from) throw wrongField("oldOwnerUserID", "oldOwnerUserID must be the owner");
          if (!memberIds.has(to)) throw wrongField("newOwnerUserID", "newOwnerUserID must be a member");
          const joinTimes = new Map(members.map(({ userId, joinTime }) => [userId, joinTime]));
          const enter = [
            { userId: from, role: roles.member, joinTime: joinTimes.get(from) ?? group.createTime },
            { userId: to, role: roles.owner, joinTime: joinTimes.get(to) ?? group.createTime },
          ];
          return { group: { ...group, ownerUserId: to }, enter, leave: new Set([from, to]) };
        },
      });
    },

    async joined(userId) {
      const found = await get.under(groupsStream, joinedFilter(toToken(userId)));
      // The last of each counts, should one have changed meanwhile.
      const records = new Map(found.map(({ subject, payload }) => [subject, Buffer.from(payload).toString("utf8")]));
      // A record without a group id is about to expire: the user has left.
      const groupIds = [...records.values()].filter(Boolean);
      const subjects = groupIds.map((groupId) => groupInfoSubject(toToken(groupId)));
      const groups: Group[] = [];
      for (let start = 0; start < subjects.length; start += infosPerRead) {
        const chunk = subjects.slice(start, start + infosPerRead);
        const infos = await readLast(get, chunk, { after: 0, deadline: deadlineIn(timeoutMs) });
        groups.push(...infos.values().map(({ payload }) => toGroup(decodeGroup(payload))));
      }
      return groups.filter(({ status }) => status === "active").sort((a, b) => (a.groupId < b.groupId ? -1 : 1));
    },
  };
}
