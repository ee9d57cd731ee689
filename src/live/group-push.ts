import { type Push, toPush } from "./push-queue.ts";
import type { Live, MemberSignal } from "./signals.ts";

/** Whoever gets online pushes. */
export interface PushReceiver {
  push(push: Push): void;
}

/** The online pushes to groups that the users of this instance are members of. */
export interface GroupPush {
  /** Begins to pass on pushes to a user; of which groups, {@link GroupMembership.refresh} finds out. */
  join(userId: string, receiver: PushReceiver): GroupMembership;
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
  readonly receivers: Set<PushReceiver>;
  readonly subscription: { stop(): void };
}

/**
 * Creates the fan-out of online pushes to groups: an instance receives one message for each push, whatever the number
 * of members it holds sessions of, and encodes it once.
 *
 * @param joined the groups of a user.
 */
export function createGroupPush(
  live: Pick<Live, "subscribeGroup">,
  joined: (userId: string) => Promise<readonly string[]>,
): GroupPush {
  const groups = new Groups(live, joined);
  return { join: (userId, receiver) => new Membership(groups, receiver, userId) };
}

/** Who receives the pushes to which group. */
class Groups {
  readonly joined: (userId: string) => Promise<readonly string[]>;
  readonly #live: Pick<Live, "subscribeGroup">;
  readonly #groups = new Map<string, Group>();

  constructor(live: Pick<Live, "subscribeGroup">, joined: Groups["joined"]) {
    this.#live = live;
    this.joined = joined;
  }

  add(groupId: string, receiver: PushReceiver): void {
    let group = this.#groups.get(groupId);
    if (group === undefined) {
      const receivers: Group["receivers"] = new Set();
      const subscription = this.#live.subscribeGroup(groupId, (notification) => {
        const push = toPush(notification);
        for (const receiver of receivers) receiver.push(push);
      });
      group = { receivers, subscription };
      this.#groups.set(groupId, group);
    }
    group.receivers.add(receiver);
  }

  remove(groupId: string, receiver: PushReceiver): void {
    const group = this.#groups.get(groupId);
    if (group === undefined) return;
    group.receivers.delete(receiver);
    if (group.receivers.size > 0) return;
    group.subscription.stop();
    this.#groups.delete(groupId);
  }
}

/** Most users are in no group: what is kept about some is made when there is one. */
class Membership implements GroupMembership {
  readonly #groups: Groups;
  readonly #receiver: PushReceiver;
  readonly #userId: string;
  #mine: Set<string> | undefined = undefined;
  /** The newest version of each group that a signal told of. */
  #versions: Map<string, number> | undefined = undefined;
  #refreshing = 0;
  /** Changes that arrive while the list is being read are newer than it. Undefined when it is not. */
  #changed: Set<string> | undefined = undefined;
  #isClosed = false;

  constructor(groups: Groups, receiver: PushReceiver, userId: string) {
    this.#groups = groups;
    this.#receiver = receiver;
    this.#userId = userId;
  }

  async refresh(): Promise<void> {
    // Another that ends at the same moment takes it away.
    const changed = this.#changed ?? new Set();
    this.#changed = changed;
    this.#refreshing++;
    const groupIds = new Set(await this.#groups.joined(this.#userId).finally(() => this.#refreshing--));
    for (const groupId of groupIds.union(this.#mine ?? new Set<string>())) {
      if (!changed.has(groupId)) this.#set(groupId, groupIds.has(groupId));
    }
    if (this.#refreshing === 0) this.#changed = undefined;
  }

  change({ groupId, joined, version }: MemberSignal): void {
    this.#versions ??= new Map();
    if (version < (this.#versions.get(groupId) ?? 0)) return;
    this.#versions.set(groupId, version);
    this.#changed?.add(groupId);
    this.#set(groupId, joined);
  }

  close(): void {
    this.#isClosed = true;
    for (const groupId of [...(this.#mine ?? [])]) this.#set(groupId, false);
  }

  #set(groupId: string, isMember: boolean): void {
    if (isMember && !this.#isClosed) {
      this.#mine ??= new Set();
      this.#mine.add(groupId);
      this.#groups.add(groupId, this.#receiver);
    } else if (this.#mine?.delete(groupId)) {
      this.#groups.remove(groupId, this.#receiver);
    }
  }
}
