import type { BaseLogger } from "pino";
import type { ReadStanding } from "../groups/reads.ts";
import { maxPushes, maxQueueBytes, type Push } from "./push-queue.ts";

/** A user who is taken to be a member. */
export interface Listener {
  readonly userId: string;
  /** Gets a push; `at`: the higher, the later it came to this instance. Default: now. */
  hear(push: Push, at?: number): void;
  /** Something is held that may be for it: what comes later waits, from whatever group, until {@link release}. */
  hold(): void;
  release(): void;
  /** Is told that it is no member. */
  leave(groupId: string): void;
}

export interface AudienceDeps {
  readonly read: ReadStanding;
  /** Counts what comes to this instance. */
  readonly now: () => number;
  readonly log: BaseLogger;
}

interface Held {
  readonly push: Push;
  readonly version: number;
  readonly at: number;
}

/** To whom it is not known since when: whether it is one is looked up before the next push. */
const unknown = -1;

/**
 * Who gets the pushes to one group here. That somebody has left may not have been heard, or not yet, while it was answered
 * long ago; so a push says of which version of the group it is, and one of a later version than is known here waits until
 * what has changed was read: once for each change of a group, and nothing at all for the others.
 */
export class GroupAudience {
  readonly #groupId: string;
  readonly #read: ReadStanding;
  readonly #log: BaseLogger;
  readonly #now: () => number;
  /** By user id, with the first version of the group with that user. */
  readonly #members = new Map<string, { readonly listener: Listener; since: number }>();
  #unknown = 0;
  /** What is known of the group: up to which version, and where that is stored; 0 for nothing. */
  #version = 0;
  #sequence = 0;
  #held: Held[] = [];
  #heldBytes = 0;
  /** Who waits for what is held; undefined while nothing is. */
  #waiting: Set<Listener> | undefined = undefined;

  constructor(groupId: string, { read, log, now }: AudienceDeps) {
    this.#groupId = groupId;
    this.#read = read;
    this.#log = log;
    this.#now = now;
  }

  /** Takes a user for a member: for certain, as one that has become one with a version that is news, or until it is looked up. */
  add(listener: Listener, version = 0): void {
    const since = version > this.#version ? version : unknown;
    this.#forget(listener);
    this.#members.set(listener.userId, { listener, since });
    if (since === unknown) this.#unknown++;
    if (this.#waiting === undefined || this.#waiting.has(listener)) return;
    this.#waiting.add(listener);
    listener.hold();
  }

  remove(listener: Listener): void {
    this.#forget(listener);
    if (this.#waiting?.delete(listener)) listener.release();
  }

  #forget({ userId }: Listener): void {
    if (this.#members.get(userId)?.since === unknown) this.#unknown--;
    this.#members.delete(userId);
  }

  isEmpty(): boolean {
    return this.#members.size === 0;
  }

  /** Passes a push on; without a version, as of an instance of 0.1, to everybody. */
  push(push: Push, version: number | undefined): void {
    if (version === undefined) this.#pass(push, Number.POSITIVE_INFINITY);
    else if (this.#waiting === undefined && this.#knows(version)) this.#pass(push, version);
    else this.#hold({ push, version, at: this.#now() });
  }

  #knows(version: number): boolean {
    return version <= this.#version && this.#unknown === 0;
  }

  #pass(push: Push, version: number, at?: number): void {
    for (const { listener, since } of this.#members.values()) if (since <= version) listener.hear(push, at);
  }

  /** Lets it wait for a read, as much as for one session; the oldest make room. */
  #hold(held: Held): void {
    this.#held.push(held);
    this.#heldBytes += held.push.bytes;
    while (this.#held.length > maxPushes || (this.#held.length > 1 && this.#heldBytes > maxQueueBytes))
      this.#takeHeld();
    if (this.#waiting === undefined) void this.#catchUp();
  }

  #takeHeld(): Held | undefined {
    const held = this.#held.shift();
    this.#heldBytes -= held?.push.bytes ?? 0;
    return held;
  }

  /** Reads until all that is held can be passed on. */
  async #catchUp(): Promise<void> {
    const waiting = new Set([...this.#members.values()].map(({ listener }) => listener));
    this.#waiting = waiting;
    for (const listener of waiting) listener.hold();
    try {
      for (let [first] = this.#held; first !== undefined; [first] = this.#held) {
        if (this.#knows(first.version)) this.#pass(first.push, first.version, first.at);
        else if (!this.isEmpty()) {
          await this.#look(this.#held.reduce((newest, { version }) => Math.max(newest, version), 0));
          continue;
        }
        this.#takeHeld();
      }
    } catch (err) {
      const pushes = this.#held.length;
      while (this.#held.length > 0) this.#takeHeld();
      this.#log.warn({ err, pushes }, "cannot read who is in a group now; online pushes to it are lost");
    } finally {
      this.#waiting = undefined;
      for (const listener of waiting) listener.release();
    }
  }

  async #look(minVersion: number): Promise<void> {
    const [sequence, groupId] = [this.#sequence, this.#groupId];
    const userIds = [...this.#members]
      .filter(([, { since }]) => sequence === 0 || since === unknown)
      .map(([userId]) => userId);
    const isBehind = sequence > 0 && this.#version < minVersion;
    const [ofAsked, changed] = await Promise.all([
      userIds.length > 0 ? this.#read(groupId, { minVersion, userIds }) : undefined,
      isBehind ? this.#read(groupId, { minVersion, after: sequence }) : undefined,
    ]);
    if (ofAsked !== undefined) {
      for (const userId of userIds) this.#settle(userId, ofAsked.since.get(userId), ofAsked.version);
    }
    if (changed !== undefined) {
      for (const [userId, since] of changed.since) this.#settle(userId, since, changed.version);
    }
    // A version that is behind is of another store, as after a backup was restored.
    const isOther = ofAsked !== undefined && ofAsked.version < this.#version;
    const known = sequence === 0 || isOther ? ofAsked : changed;
    if (known === undefined) return;
    this.#version = known.version;
    this.#sequence = known.sequence;
  }

  /** What was read of a user, unless there is later news. */
  #settle(userId: string, since: number | undefined, version: number): void {
    const member = this.#members.get(userId);
    if (member === undefined || member.since > version) return;
    if (member.since === unknown) this.#unknown--;
    member.since = since ?? 0;
    if (since === undefined) member.listener.leave(this.#groupId);
  }
}
