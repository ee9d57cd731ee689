import { type Push, toPush } from "./push-queue.ts";
import type { Live, MemberSignal } from "./signals.ts";

/** The online pushes to groups that the users of this instance are members of. */
export interface GroupPush {
  /** Begins to pass on pushes to a user; of which groups, {@link GroupMembership.refresh} finds out. */
  join(userId: string, onPush: (push: Push) => void): GroupMembership;
}

/** A user's part in {@link GroupPush}. */
export interface GroupMembership {
  /**
   * Reads the user's groups.
   *
   * @throws NetworkError (90004) when the broker does not answer; the groups are what they were.
   */
  refresh(): Promise<void>;
  /** The user has joined or left a group. Signals may come late and in any order: an older version changes nothing. */
  change(signal: MemberSignal): void;
  /** Stops passing on pushes to the user. */
  close(): void;
}

interface Group {
  readonly receivers: Set<(push: Push) => void>;
  readonly subscription: { close(): void };
}

/**
 * Creates the fan-out of online pushes to groups: an instance receives one message for each push, whatever the number
 * of members it holds sessions of, and decodes it once.
 *
 * @param joined the groups of a user.
 */
export function createGroupPush(
  live: Pick<Live, "subscribeGroup">,
  joined: (userId: string) => Promise<readonly string[]>,
): GroupPush {
  const groups = new Map<string, Group>();

  const add = (groupId: string, receiver: (push: Push) => void): void => {
    let group = groups.get(groupId);
    if (group === undefined) {
      const receivers: Group["receivers"] = new Set();
      const subscription = live.subscribeGroup(groupId, (bytes) => {
        const push = toPush(bytes);
        for (const receive of receivers) receive(push);
      });
      group = { receivers, subscription };
      groups.set(groupId, group);
    }
    group.receivers.add(receiver);
  };

  const remove = (groupId: string, receiver: (push: Push) => void): void => {
    const group = groups.get(groupId);
    if (group === undefined) return;
    group.receivers.delete(receiver);
    if (group.receivers.size > 0) return;
    group.subscription.close();
    groups.delete(groupId);
  };

  return {
    join(userId, onPush) {
      const mine = new Set<string>();
      /** The newest version of each group that a signal told of. */
      const versions = new Map<string, number>();
      /** Changes that arrive while the list is being read are newer than it. */
      const changed = new Set<string>();
      let isClosed = false;
      const set = (groupId: string, isMember: boolean): void => {
        if (isMember && !isClosed) {
          mine.add(groupId);
          add(groupId, onPush);
        } else if (mine.delete(groupId)) {
          remove(groupId, onPush);
        }
      };
      return {
        async refresh() {
          changed.clear();
          const groupIds = new Set(await joined(userId));
          for (const groupId of groupIds.union(mine)) {
            if (!changed.has(groupId)) set(groupId, groupIds.has(groupId));
          }
        },
        change({ groupId, joined: isMember, version }) {
          if (version < (versions.get(groupId) ?? 0)) return;
          versions.set(groupId, version);
          changed.add(groupId);
          set(groupId, isMember);
        },
        close() {
          isClosed = true;
          for (const groupId of [...mine]) set(groupId, false);
        },
      };
    },
  };
}
