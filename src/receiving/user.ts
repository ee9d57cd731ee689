import { type Addressing, isFor } from "../addressing.ts";
import { type Clock, systemClock } from "../clock.ts";
import type { Cursors } from "../cursors/cursors.ts";
import { type DeviceCursor, hasGot } from "../cursors/device-cursors.ts";
import type { Gap_Reason } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { InboxPage } from "../inbox/read-page.ts";
import type { GroupMembership, GroupPush, PushReceiver } from "../live/group-push.ts";
import { type Push, toPush } from "../live/push-queue.ts";
import type { Live, LiveListener, MemberSignal, SessionSignal } from "../live/signals.ts";
import { Timer, type TimerOwner, type TimerWheel } from "../timer-wheel.ts";
import { FirstAcknowledgements } from "../traffic/first-acknowledgements.ts";
import type { Traffic } from "../traffic/traffic.ts";
import type { ReadRequest } from "./feed/feed-item.ts";
import { SharedRead } from "./feed/shared-read.ts";
import type { Replays } from "./replays.ts";
import type { Session } from "./session.ts";
import type { Failures, SessionHome } from "./session-options.ts";
import { createTakeover, type TakeoverOwner } from "./takeover.ts";
import { isUnsettled, type MarkedItem } from "./window.ts";

/** After which time a cursor that has moved is stored, in milliseconds: a little more than they are collected for. */
const lookAfterMs = 1_500;

/** What the users of an instance have in common. */
export interface UserDeps {
  readonly inbox: Pick<Inbox, "read" | "lineage" | "oldestSequence">;
  readonly live: Live;
  readonly cursors: Pick<Cursors, "read" | "ofUsers" | "advance" | "flush">;
  /** Told what has marks once it is stored that a device has acknowledged it. Default: nobody. */
  readonly onMarkedAcknowledged?: (userId: string, deviceId: string, items: readonly MarkedItem[]) => void;
  readonly groupPush: GroupPush;
  readonly replays: Replays;
  readonly timers: TimerWheel;
  /** Default: the system's. */
  readonly clock?: Clock;
  readonly traffic: Traffic;
  /** Told of each gap that a device is told of. */
  readonly onGap: (reason: Gap_Reason) => void;
  /** Whether the connection to the broker is down. */
  readonly isBrokerAway: () => boolean;
  /** How often an idle session sends a heartbeat, in milliseconds. */
  readonly heartbeatMs: number;
  readonly failures: Failures;
}

/** A user with sessions here: what they share, and what they are told together. */
export class User implements SessionHome, LiveListener, PushReceiver, TakeoverOwner, TimerOwner {
  readonly sessions = createTakeover(this);
  /** Sessions, with those being opened. */
  count = 0;
  readonly acknowledgements: FirstAcknowledgements;
  readonly #userId: string;
  readonly #deps: UserDeps;
  readonly #reads: SharedRead;
  readonly #groups: GroupMembership;
  #signals: { stop(): void } | undefined = undefined;
  #hasJoined = false;
  #joining: Promise<void> | undefined = undefined;
  /** A read of the user's cursors that is under way, and saw all that has been settled by now. */
  #readingCursors: Promise<readonly DeviceCursor[]> | undefined = undefined;
  #isLooking = false;
  #lookTimer: Timer | undefined = undefined;

  constructor(userId: string, deps: UserDeps) {
    this.#userId = userId;
    this.#deps = deps;
    this.#reads = new SharedRead(userId, deps.inbox);
    this.#groups = deps.groupPush.join(userId, this);
    this.acknowledgements = new FirstAcknowledgements(deps.traffic, () => this.#readOthers());
  }

  /** Asks for the user's live signals, unless that was done; see {@link Live.subscribe}. */
  listen(): void {
    this.#signals ??= this.#deps.live.subscribe(this.#userId, this);
  }

  get timers(): TimerWheel {
    return this.#deps.timers;
  }

  get clock(): Clock {
    return this.#deps.clock ?? systemClock;
  }

  get heartbeatMs(): number {
    return this.#deps.heartbeatMs;
  }

  get traffic(): Traffic {
    return this.#deps.traffic;
  }

  get failures(): Failures {
    return this.#deps.failures;
  }

  isBrokerAway(): boolean {
    return this.#deps.isBrokerAway();
  }

  read(request: ReadRequest): Promise<InboxPage> {
    return this.#reads.read(request, this.count > 1);
  }

  replayInTurn<T>(replay: () => Promise<T>): Promise<T> {
    return this.#deps.replays.inTurn(this.#userId, replay);
  }

  oldestSequence(): Promise<number> {
    return this.#deps.inbox.oldestSequence(this.#userId);
  }

  readCursor(deviceId: string): Promise<number | undefined> {
    return this.#deps.cursors.read(this.#userId, deviceId);
  }

  readCursors(): Promise<readonly DeviceCursor[]> {
    if (this.#readingCursors !== undefined) return this.#readingCursors;
    const reading = this.#deps.cursors.ofUsers([this.#userId]).then((read) => read.get(this.#userId) ?? []);
    this.#readingCursors = reading;
    const forget = () => {
      if (this.#readingCursors === reading) this.#readingCursors = undefined;
    };
    reading.then(forget, forget);
    return reading;
  }

  onGap(reason: Gap_Reason): void {
    this.#deps.onGap(reason);
  }

  onMarkedAcknowledged(deviceId: string, items: readonly MarkedItem[]): void {
    const telling = items.filter((item) => item.marks.report !== undefined || isUnsettled(item));
    if (telling.length > 0) void this.#tell(deviceId, telling);
  }

  lookForSettled(): void {
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.readCursors()
      .then((cursors) => {
        for (const { session } of this.sessions) {
          const isSettled = ({ sequence, devices }: MarkedItem) =>
            cursors.some((cursor) => cursor.deviceId !== session.deviceId && hasGot(cursor, sequence, devices));
          if (session.window.settle(isSettled)) session.onMore();
        }
      })
      // Or at the next heartbeat.
      .catch(() => {})
      .finally(() => {
        this.#isLooking = false;
      });
  }

  prepare(): Promise<void> | undefined {
    if (this.#hasJoined) return undefined;
    this.#joining ??= this.#join().finally(() => {
      this.#joining = undefined;
    });
    return this.#joining;
  }

  /** Looks into the inbox and reads the groups, after signals may have been lost. */
  reconcile(): void {
    this.#groups.refresh().catch(this.failures.groupsUnread);
    this.onWake();
    this.sessions.repeat();
  }

  /** Hears of nothing any more. */
  close(): void {
    if (this.#lookTimer !== undefined) this.timers.clear(this.#lookTimer);
    this.#groups.close();
    this.#signals?.stop();
  }

  push(push: Push): void {
    for (const { session } of this.sessions) session.push(push);
  }

  onPush(notification: Uint8Array, devices?: Addressing): void {
    const push = toPush(notification);
    if (this.#groups.isHolding()) this.#groups.follow(() => this.#pushTo(push, devices));
    else this.#pushTo(push, devices);
  }

  #pushTo(push: Push, devices: Addressing | undefined): void {
    for (const { session } of this.sessions) if (isFor(devices, session.deviceId)) session.push(push);
  }

  onMember(change: MemberSignal): void {
    this.#groups.change(change);
  }

  onHint(sequence: number): void {
    for (const { session } of this.sessions) session.hint(sequence);
  }

  onWake(): void {
    for (const { session } of this.sessions) session.reconcile();
  }

  onAck(device: string, sequence: number): void {
    for (const session of this.sessions.of(device)) session.acknowledge(sequence);
    // Of a device without a session nobody tells what it has acknowledged for the user; its cursor says so when it is stored.
    const isWaiting = [...this.sessions].some(
      (one) => one.device !== device && one.session.window.hasUnsettled(sequence),
    );
    if (!isWaiting || this.#lookTimer !== undefined) return;
    this.#lookTimer = new Timer(this);
    this.timers.set(this.#lookTimer, lookAfterMs);
  }

  onTime(): void {
    this.#lookTimer = undefined;
    this.lookForSettled();
  }

  onSettled(deviceId: string, sequences: readonly number[]): void {
    // What is being read may have been there before.
    this.#readingCursors = undefined;
    for (const { session } of this.sessions) if (session.deviceId !== deviceId) session.settle(sequences);
  }

  onSession(device: string, signal: SessionSignal): void {
    this.sessions.hear(device, signal);
  }

  platforms(): number[] {
    return [...this.sessions].map(({ session }) => session.opener?.platformId ?? 0);
  }

  // The newer session's device may have acknowledged here before we heard of it.
  onReplaced({ deviceId, window }: Session): void {
    if (window.acknowledged() > 0) this.#deps.live.publishAck(this.#userId, deviceId, window.acknowledged());
  }

  tell({ deviceId }: Session, order: number): void {
    this.#deps.live.publishSession(this.#userId, deviceId, order);
  }

  /** How far the furthest device without a session here has acknowledged. */
  async #readOthers(): Promise<number> {
    const cursors = await this.readCursors();
    const here = new Set([...this.sessions].map(({ session }) => session.deviceId));
    return Math.max(0, ...cursors.filter(({ deviceId }) => !here.has(deviceId)).map(({ sequence }) => sequence));
  }

  /** Tells back end and other devices of what one has acknowledged, once they can read that it has. */
  async #tell(deviceId: string, items: readonly MarkedItem[]): Promise<void> {
    const { cursors, live, failures } = this.#deps;
    try {
      for (const { sequence, epoch } of items.slice(-1)) cursors.advance(this.#userId, deviceId, sequence, epoch);
      await cursors.flush(this.#userId, deviceId);
      this.#deps.onMarkedAcknowledged?.(this.#userId, deviceId, items);
      const sequences = items.filter(isUnsettled).map(({ sequence }) => sequence);
      if (sequences.length > 0) live.publishSettled(this.#userId, deviceId, sequences);
    } catch (err) {
      failures.settledUntold(err);
    }
  }

  async #join(): Promise<void> {
    await this.#groups.refresh();
    this.#hasJoined = true;
  }
}
