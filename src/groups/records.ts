import { create, toBinary } from "@bufbuild/protobuf";
import { decodeStored } from "../decode-stored.ts";
import { failure } from "../errors.ts";
import { GroupRecordSchema, MembersRecordSchema } from "../gen/mustreach/store/v1/group_pb.ts";

/** What a member may do: OpenIM's levels of owner, admin and member. */
export const roles = { owner: 100, admin: 60, member: 20 } as const;

/** One of {@link roles}. */
export type Role = (typeof roles)[keyof typeof roles];

/** What the app says of a group. It is kept, and of no effect here. */
export interface GroupProfile {
  readonly groupName: string;
  /** The app's own text. */
  readonly ex: string;
  readonly notification: string;
  readonly introduction: string;
  readonly faceUrl: string;
  readonly needVerification: number;
  readonly lookMemberInfo: number;
  readonly applyMemberFriend: number;
}

/** The profile of a group of which nothing is said. */
export const noProfile: GroupProfile = {
  groupName: "",
  ex: "",
  notification: "",
  introduction: "",
  faceUrl: "",
  needVerification: 0,
  lookMemberInfo: 0,
  applyMemberFriend: 0,
};

/** A group as it is at one version. */
export interface Group extends GroupProfile {
  readonly groupId: string;
  readonly ownerUserId: string;
  readonly creatorUserId: string;
  /** Epoch milliseconds. */
  readonly createTime: number;
  readonly memberCount: number;
  /** A dismissed group stays so. */
  readonly status: "active" | "dismissed";
  /** From 1, one more with every stored change of the group or its members. */
  readonly version: number;
}

/** A user in a group. */
export interface Member {
  readonly userId: string;
  readonly role: Role;
  /** Epoch milliseconds. */
  readonly joinTime: number;
}

/** A group's info record. */
export interface GroupRecord extends Group {
  /** Which call created or dismissed the group: one that was not answered finds out whether it was stored. */
  readonly changeId: string;
}

/** A time as a member. A user who left and came back has several; a member has one without an end. */
export interface Membership extends Member {
  /** The first version with this member. */
  readonly from: number;
  /** The first version without. */
  readonly to?: number;
  /** When it ended, in epoch milliseconds. */
  readonly leaveTime?: number;
}

interface MembershipsRevision {
  /** The version that the change makes. */
  readonly version: number;
  /** Epoch milliseconds. */
  readonly nowMs: number;
  /** Who becomes a member; not a member before. */
  readonly enter: readonly Member[];
  /** Who does not remain a member. */
  readonly leave: ReadonlySet<string>;
  /** How long an ended membership is kept, in milliseconds. */
  readonly historyMs: number;
}

/** Ended memberships of a user that are kept: who comes and goes all day does not fill a record. */
const maxEndedMemberships = 50;

export function isMemberAt({ from, to }: Membership, version: number): boolean {
  return from <= version && (to === undefined || version < to);
}

/** The memberships of one record after a change, by user id and version, without those that ended too long ago. */
export function reviseMemberships(memberships: readonly Membership[], revision: MembershipsRevision): Membership[] {
  const { version, nowMs, enter, leave, historyMs } = revision;
  const revised = memberships
    .map((one) => (one.to === undefined && leave.has(one.userId) ? { ...one, to: version, leaveTime: nowMs } : one))
    .concat(enter.map(({ userId, role, joinTime }) => ({ userId, role, joinTime, from: version })))
    .sort(byUserAndVersion);
  const ended = new Map<string, number>();
  return revised
    .reverse()
    .filter(({ userId, leaveTime }) => {
      if (leaveTime === undefined) return true;
      const later = ended.get(userId) ?? 0;
      ended.set(userId, later + 1);
      return later < maxEndedMemberships && leaveTime > nowMs - historyMs;
    })
    .reverse();
}

/** The stored form of a group. */
export function encodeGroup({ status, createTime, version, ...group }: GroupRecord): Uint8Array {
  const record = create(GroupRecordSchema, {
    ...group,
    createTime: BigInt(createTime),
    isDismissed: status === "dismissed",
    version: BigInt(version),
  });
  return toBinary(GroupRecordSchema, record);
}

/** Reads the stored form of a group. */
export function decodeGroup(payload: Uint8Array): GroupRecord {
  const record = decodeStored(GroupRecordSchema, payload);
  const { groupId, ownerUserId, creatorUserId, memberCount, changeId } = record;
  return {
    groupId,
    ...toProfile(record),
    ownerUserId,
    creatorUserId,
    createTime: Number(record.createTime),
    memberCount,
    status: record.isDismissed ? "dismissed" : "active",
    version: Number(record.version),
    changeId,
  };
}

/** The profile in what has more. */
export function toProfile(described: GroupProfile): GroupProfile {
  const { groupName, ex, notification, introduction, faceUrl } = described;
  const { needVerification, lookMemberInfo, applyMemberFriend } = described;
  return { groupName, ex, notification, introduction, faceUrl, needVerification, lookMemberInfo, applyMemberFriend };
}

/** The stored form of the memberships of one record. */
export function encodeMemberships(memberships: readonly Membership[]): Uint8Array {
  const record = create(MembersRecordSchema, {
    memberships: memberships.map(({ userId, role, joinTime, from, to = 0, leaveTime = 0 }) => ({
      userId,
      role,
      joinTime: BigInt(joinTime),
      fromVersion: BigInt(from),
      toVersion: BigInt(to),
      leaveTime: BigInt(leaveTime),
    })),
  });
  return toBinary(MembersRecordSchema, record);
}

/** Reads the stored form of the memberships of one record. */
export function decodeMemberships(payload: Uint8Array): readonly Membership[] {
  return decodeStored(MembersRecordSchema, payload).memberships.map((one) => ({
    userId: one.userId,
    role: toRole(one.role),
    joinTime: Number(one.joinTime),
    from: Number(one.fromVersion),
    // No version is 0: it has not ended.
    ...(one.toVersion > 0n && { to: Number(one.toVersion), leaveTime: Number(one.leaveTime) }),
  }));
}

function toRole(level: number): Role {
  const role = Object.values(roles).find((known) => known === level);
  if (role === undefined)
    throw failure("ServerInternalError", `what is stored is a member of an unknown role, ${level}`);
  return role;
}

/** @throws RecordNotFoundError (1004) when there is no group. */
export function requireFound<G extends Group>(group: G | undefined): G {
  if (group === undefined) throw failure("RecordNotFoundError", "the group does not exist");
  return group;
}

/** @throws RecordNotFoundError (1004) when there is no group, DismissedAlreadyError (1204) when it was dismissed. */
export function requireActive<G extends Group>(group: G | undefined): G {
  const found = requireFound(group);
  if (found.status === "dismissed") throw failure("DismissedAlreadyError", "the group was dismissed");
  return found;
}

/** A group as callers see it. */
export function toGroup({ changeId: _, ...group }: GroupRecord): Group {
  return group;
}

function byUserAndVersion(a: Membership, b: Membership): number {
  if (a.userId !== b.userId) return a.userId < b.userId ? -1 : 1;
  return a.from - b.from;
}
