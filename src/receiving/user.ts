import type { BaseLogger } from "pino";
import { type Addressing, isFor } from "../addressing.ts";
import type { Gap_Reason } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Cursors } from "../inbox/cursors.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { InboxPage } from "../inbox/read-page.ts";
import type { GroupMembership, GroupPush, PushReceiver } from "../live/group-push.ts";
import { type Push, toPush } from "../live/push-queue.ts";
import type { Live, LiveListener, MemberSignal, SessionSignal } from "../live/signals.ts";
import type { TimerWheel } from "../timer-wheel.ts";
import { FirstAcknowledgements } from "../traffic/first-acknowledgements.ts";
import type { Traffic } from "../traffic/traffic.ts";
import type { ReadRequest } from "./feed.ts";
import type { Session } from "./session.ts";
import type { SessionHome } from "./session-options.ts";
import { SharedRead } from "./shared-read.ts";
import { createTakeover, type TakeoverOwner } from "./takeover.ts";

/** What the users of an instance have in common. */
export interface UserDeps {
  readonly inbox: Pick<Inbox, "read" | "lineage" | "oldestSequence">;
  readonly live: Live;
  readonly cursors: Pick<Cursors, "read" | "ofUsers">;
  readonly groupPush: GroupPush;
  readonly timers: TimerWheel;
  readonly traffic: Traffic;
  /** Told of each gap that a device is told of. */
  readonly onGap: (reason: Gap_Reason) => void;
  /** Whether the connection to the broker is down. */
  readonly isBrokerAway: () => boolean;
  /** How often an idle session sends a heartbeat, in milliseconds. */
  readonly heartbeatMs: number;
  readonly log: BaseLogger;
}

/** A user with sessions here: what they share, and what they are told together. */
export class User implements SessionHome, LiveListener, PushReceiver, TakeoverOwner {
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

  get heartbeatMs(): number {
    return this.#deps.heartbeatMs;
  }

  get traffic(): Traffic {
    return this.#deps.traffic;
  }

  get log(): BaseLogger {
    return this.#deps.log;
  }

  isBrokerAway(): boolean {
    return this.#deps.isBrokerAway();
  }

  read(request: ReadRequest): Promise<InboxPage> {
    return this.#reads.read(request, this.count > 1);
  }

  oldestSequence(): Promise<number> {
    return this.#deps.inbox.oldestSequence(this.#userId);
  }

  readCursor(deviceId: string): Promise<number | undefined> {
    return this.#deps.cursors.read(this.#userId, deviceId);
  }

  onGap(reason: Gap_Reason): void {
    this.#deps.onGap(reason);
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
    this.#groups.refresh().catch((err: unknown) => this.#deps.log.warn({ err }, "cannot read a user's groups now"));
    this.onWake();
    this.sessions.repeat();
  }

  /** Hears of nothing any more. */
  close(): void {
    this.#groups.close();
    this.#signals?.stop();
  }

  push(push: Push): void {
    for (const { session } of this.sessions) session.push(push);
  }

  onPush(notification: Uint8Array, devices?: Addressing): void {
    const push = toPush(notification);
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
    const userId = this.#userId;
    const cursors = (await this.#deps.cursors.ofUsers([userId])).get(userId) ?? [];
    const here = new Set([...this.sessions].map(({ session }) => session.deviceId));
    return Math.max(0, ...cursors.filter(({ deviceId }) => !here.has(deviceId)).map(({ sequence }) => sequence));
  }

  async #join(): Promise<void> {
    await this.#groups.refresh();
    this.#hasJoined = true;
  }
}
