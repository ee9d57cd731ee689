import { failure } from "../errors.ts";
import { type ChangeGroup, type GroupRevision, inRecordOrder, takeChunk } from "./change.ts";
import { type Group, type GroupRecord, type Member, toGroup } from "./records.ts";

/** Users who are, or no longer are, members of a group. */
export interface MembershipChange {
  readonly groupId: string;
  /** Of the group with this change: of two changes, the one with the higher version counts. */
  readonly version: number;
  readonly joined: boolean;
  /** At most 1,000. */
  readonly userIds: readonly string[];
}

/** Changes the membership of any number of users, as many at a time as one batch holds. */
export interface Membership {
  /** Makes users members; those who are stay as they are. Resolves to the group after it. */
  add(group: Group, members: readonly Member[]): Promise<Group>;
  /** Ends the membership of users; those who are not members are passed over. */
  remove(group: Group, userIds: readonly string[], options: { readonly isDismissed: boolean }): Promise<Group>;
}

/** Creates the changes of membership. `onChange` is called after each stored part, with all users whom it concerned. */
export function createMembership(change: ChangeGroup, onChange: (change: MembershipChange) => void): Membership {
  const changeAll = async <U extends { readonly userId: string }>(
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
      onChange({ groupId, version: group.version, joined, userIds });
      start += chunk.length;
    }
    return group;
  };

  return {
    add: (group, members) =>
      changeAll(group, members, true, (current, chunk, memberIds) => ({
        group: requireActive(current),
        enter: chunk.filter(({ userId }) => !memberIds.has(userId)),
        leave: new Set(),
      })),
    remove(group, userIds, { isDismissed }) {
      const users = userIds.map((userId) => ({ userId }));
      return changeAll(group, users, false, (current, _, memberIds) => ({
        group: isDismissed ? current : requireActive(current),
        enter: [],
        leave: memberIds,
      }));
    },
  };
}

/** @throws RecordNotFoundError (1004) when there is no group. */
export function requireFound<G extends Group>(group: G | undefined): G {
  if (group === undefined) throw failure("RecordNotFoundError", "the group does not exist");
  return group;
}

/** @throws RecordNotFoundError (1004) when there is no group, DismissedAlreadyError (1204) when it was dismissed. */
export function requireActive<G extends Group>(group: G | undefined): G {
  const found = requireFound(group);
  if (found.status === "dismissed") throw failure("DismissedAlreadyError", "the group is dismissed");
  return found;
}
