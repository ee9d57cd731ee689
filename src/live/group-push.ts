import type { BaseLogger } from "pino";
import type { ReadStanding } from "../groups/reads.ts";
import { GroupAudience, type Listener } from "./group-audience.ts";
import { maxPushes, type Push, toPush } from "./push-queue.ts";
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
  /** Whether a push to one of the user's groups waits until it is known who is in it. */
  isHolding(): boolean;
  /** Lets a push of the user's own follow that. At most 256 wait; the oldest make room. */
  follow(pass: () => void): void;
  /** Stops passing on pushes to the user. */
  close(): void;
}

interface Group {
  readonly audience: GroupAudience;
  readonly subscription: { stop(): void };
}

export interface GroupPushDeps {
  readonly live: Pick<Live, "subscribeGroup">;
  /** The groups of a user. */
  readonly joined: (userId: string) => Promise<readonly string[]>;
  readonly readStanding: ReadStanding;
  readonly log: BaseLogger;
}

/**
 * Creates the fan-out of online pushes to groups: an instance receives one message for each push, whatever the number
 * of members it holds sessions of, and encodes it once.
 */
export function createGroupPush(deps: GroupPushDeps): GroupPush {
  const groups = new Groups(deps);
  return { join: (userId, receiver) => new Membership(groups, receiver, userId) };
}

/** Who receives the pushes to which group. */
class Groups {
  readonly joined: GroupPushDeps["joined"];
  readonly #deps: GroupPushDeps;
  readonly #groups = new Map<string, Group>();
  #count = 0;

  /** Counts what comes to this instance. */
  readonly now = (): number => ++this.#count;

  constructor(deps: GroupPushDeps) {
    this.#deps = deps;
    this.joined = deps.joined;
  }

  add(groupId: string, listener: Listener, version: number | undefined): void {
    let group = this.#groups.get(groupId);
    if (group === undefined) {
      const { live, readStanding: read, log } = this.#deps;
      const audience = new GroupAudience(groupId, { read, log, now: this.now });
      const subscription = live.subscribeGroup(groupId, (notification, version) =>
        audience.push(toPush(notification), version),
      );
      group = { audience, subscription };
      this.#groups.set(groupId, group);
    }
    group.audience.add(listener, version);
  }

  remove(groupId: string, listener: Listener): void {
    const group = this.#groups.get(groupId);
    if (group === undefined) return;
    group.audience.remove(listener);
    if (!group.audience.isEmpty()) return;
    group.subscription.stop();
    this.#groups.delete(groupId);
  }
}

/** A push that waits until others can be passed on, and its place among them. */
interface Following {
  readonly at: number;
  pass(): void;
}

/** Most users are in no group: what is kept about some is made when there is one. */
class Membership implements GroupMembership, Listener {
  readonly userId: string;
  readonly #groups: Groups;
  readonly #receiver: PushReceiver;
  #mine: Set<string> | undefined = undefined;
  /** The newest version of each group that a signal told of. */
  #versions: Map<string, number> | undefined = undefined;
  #refreshing = 0;
  /** Changes that arrive while the list is being read are newer than it. Undefined when it is not. */
  #changed: Set<string> | undefined = undefined;
  #isClosed = false;
  /** How many groups have something held, and what follows it. */
  #holds = 0;
  #following: Following[] | undefined = undefined;

  constructor(groups: Groups, receiver: PushReceiver, userId: string) {
    this.#groups = groups;
    this.#receiver = receiver;
    this.userId = userId;
  }

  async refresh(): Promise<void> {
    // Another that ends at the same moment takes it away.
    const changed = this.#changed ?? new Set();
    this.#changed = changed;
    this.#refreshing++;
    const groupIds = new Set(await this.#groups.joined(this.userId).finally(() => this.#refreshing--));
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
    this.#set(groupId, joined, version);
  }

  hear(push: Push, at?: number): void {
    if (this.#holds === 0) this.#receiver.push(push);
    else this.follow(() => this.#receiver.push(push), at);
  }

  isHolding(): boolean {
    return this.#holds > 0;
  }

  follow(pass: () => void, at = this.#groups.now()): void {
    this.#following ??= [];
    this.#following.push({ at, pass });
    if (this.#following.length > maxPushes) this.#following.shift();
  }

  hold(): void {
    this.#holds++;
  }

  release(): void {
    if (--this.#holds > 0) return;
    const following = this.#following?.sort((a, b) => a.at - b.at) ?? [];
    this.#following = undefined;
    for (const { pass } of following) pass();
  }

  leave(groupId: string): void {
    this.#set(groupId, false);
  }

  close(): void {
    this.#isClosed = true;
    for (const groupId of [...(this.#mine ?? [])]) this.#set(groupId, false);
  }

  #set(groupId: string, isMember: boolean, version?: number): void {
    if (isMember && !this.#isClosed) {
      this.#mine ??= new Set();
      this.#mine.add(groupId);
      this.#groups.add(groupId, this, version);
    } else if (this.#mine?.delete(groupId)) {
      this.#groups.remove(groupId, this);
    }
  }
}
