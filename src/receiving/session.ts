import type { FrameSink } from "../answers.ts";
import { toWireError } from "../errors.ts";
import type { Place } from "../inbox/places.ts";
import type { Push, PushQueue } from "../live/push-queue.ts";
import { Timer, type TimerOwner } from "../timer-wheel.ts";
import { encodeEvent, encodeHeartbeat, encodeItem, encodeReady } from "./events.ts";
import { Feed } from "./feed/feed.ts";
import type { FeedItem, FeedOwner } from "./feed/feed-item.ts";
import { type SessionEnd, sessionEnds } from "./session-end.ts";
import { pauses, type SessionHome, type SessionOpener, type SessionOptions } from "./session-options.ts";
import { Window } from "./window.ts";

/** What a session has asked of the store: nothing, the next page, or that again in a moment. */
type Loading = "nothing" | "page" | "retry";
const [never, nothing] = [Number.POSITIVE_INFINITY, () => {}];

/**
 * One live stream of one device. It does what happens to it at once: to wait takes no promise, no closure and no timer
 * of Node's. Nothing is read from the store before the device has taken what came before, but one page of a long backlog.
 */
export class Session implements FeedOwner, TimerOwner {
  readonly deviceId: string;
  readonly window: Window;
  readonly exit: () => void;
  readonly opener: SessionOpener | undefined;
  readonly #home: SessionHome;
  readonly #pushes: PushQueue;
  readonly #expiresAtMs: number;
  readonly #timer = new Timer(this);
  #feed: Feed | undefined = undefined;
  #hinted = 0;
  #sink: FrameSink | undefined = undefined;
  /** Whether the device has been told that the session is open. */
  #isOpen = false;
  #isWritable = true;
  #isPaused = false;
  #isPumping = false;
  #ended: SessionEnd | undefined = undefined;
  /** Whether it has ended for the sink, too, or that is gone. */
  #isOver = false;
  /** Pushes and stored items take turns, so that a flood of one does not hold back the other. */
  #isPushesTurn = true;
  #loading: Loading = "nothing";
  #hasReadFailed = false;
  #isHeartbeatDue = false;
  /** On the clock of performance.now(), as the next two. */
  #heartbeatAt = never;
  #retryAt = never;
  #turnEndsAt = never;

  constructor({ home, deviceId, window, pushes, expiresAtMs, exit, opener }: SessionOptions) {
    this.deviceId = deviceId;
    this.#home = home;
    this.window = new Window(window, home);
    this.#pushes = pushes;
    this.#expiresAtMs = expiresAtMs ?? never;
    this.exit = exit ?? nothing;
    this.opener = opener;
  }

  /** Says where it continues: everything up to this is not sent. `sentBefore`: see {@link Window.begin}. */
  begin(resume: Place, sentBefore = 0): void {
    this.window.begin(resume.sequence, sentBefore);
    this.#feed = new Feed(resume, this.#home, this);
    this.#feed.hint(this.#hinted);
  }

  /**
   * Sends the session's events from now on, from `ready` on. It ends with NetworkError (90004) when the first read fails,
   * and with the error of {@link end}.
   */
  pipe(sink: FrameSink): this {
    this.#sink = sink;
    if (this.#ended?.last !== undefined) this.#finish(sink, this.#ended);
    else if (this.#feed !== undefined) void this.#open(sink, this.#feed);
    return this;
  }

  resume(): void {
    this.#isWritable = true;
    this.#pump();
  }

  /** The device is gone: nothing is sent any more. */
  cancel(): void {
    this.#ended ??= {};
    this.#close();
  }

  /** Ends the session. The first call counts. */
  end(reason: SessionEnd): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    this.#pushes.close();
    // One that is to begin anew is not told that it is open, others are before they end.
    if (this.#sink !== undefined && (this.#isOpen || reason.last !== undefined)) this.#finish(this.#sink, reason);
  }

  /** A notification with this sequence was stored. */
  hint(sequence: number): void {
    if (this.#feed === undefined) this.#hinted = Math.max(this.#hinted, sequence);
    else this.#feed.hint(sequence);
  }

  /** A hint may have been lost: look into the inbox. */
  reconcile(): void {
    if (this.#loading === "retry") this.#loading = "nothing";
    this.#feed?.reconcile();
  }

  /** Sends an online push, as soon as the device takes it. */
  push(push: Push): void {
    const isReady = this.#isOpen && this.#isWritable && !this.#isPaused && !this.#isPumping;
    const isNext = isReady && this.#turnEndsAt === never && this.#pushes.isEmpty();
    if (isNext && this.#sink !== undefined) this.#isWritable = this.#sink.write(this.#pushes.pass(push));
    else this.#pushes.add(push);
  }

  /** Sends nothing but heartbeats while the device wants nothing. */
  setPaused(isPaused: boolean): void {
    this.#isPaused = isPaused;
    this.#pump();
  }

  setWindow(size: number): void {
    this.window.resize(size);
    this.#pump();
  }

  /** The device has handled everything up to this sequence; false when that is not news. */
  acknowledge(sequence: number): boolean {
    if (!this.window.acknowledge(sequence)) return false;
    this.#home.onMarkedAcknowledged(this.deviceId, this.window.takeMarked(sequence));
    this.#pump();
    return true;
  }

  /** How many stored ones the device has not acknowledged, as of the last read. */
  backlog(): number {
    return this.window.unacknowledged() + (this.#feed?.pending() ?? 0);
  }

  /** Another device has acknowledged notifications for the user. */
  settle(sequences: readonly number[]): void {
    this.#feed?.settle(sequences);
    if (this.window.settle(({ sequence }) => sequences.includes(sequence))) this.#pump();
  }

  onMore(): void {
    this.#pump();
  }

  onStoreChanged(): void {
    this.end(sessionEnds.storeChanged());
  }

  onTime(): void {
    const now = performance.now();
    if (Date.now() >= this.#expiresAtMs) this.end(sessionEnds.expired());
    if (now >= this.#retryAt) {
      this.#retryAt = never;
      if (this.#loading === "retry") this.#loading = "nothing";
    }
    if (now >= this.#turnEndsAt) this.#turnEndsAt = never;
    if (now >= this.#heartbeatAt) {
      this.#heartbeatAt = never;
      this.#isHeartbeatDue = true;
    }
    this.#arm();
    this.#pump();
  }

  async #open(sink: FrameSink, feed: Feed): Promise<void> {
    const position = feed.position();
    this.#arm();
    try {
      const replay = () => Promise.all(this.#isOver ? [] : [feed.load(this.window.size), this.#home.prepare()]);
      await this.#home.replayInTurn(replay);
    } catch (error) {
      return this.#finish(sink, { error: toWireError(error) });
    }
    if (this.#isOver) return;
    this.#isWritable = sink.write(encodeReady(position, feed.pending(), this.deviceId));
    this.#isOpen = true;
    if (this.#ended !== undefined) return this.#finish(sink, this.#ended);
    this.#heartbeatAt = performance.now() + this.#home.heartbeatMs;
    this.#arm();
    this.#pump();
  }

  /** Sends what there is, for as long as the sink takes it. */
  #pump(): void {
    if (!this.#isOpen || this.#isPumping) return;
    this.#isPumping = true;
    while (this.#isWritable && this.#sink !== undefined && this.#feed !== undefined) {
      const event = (this.#isPaused ? undefined : this.#next(this.#feed)) ?? this.#nextHeartbeat(this.#feed);
      if (event === undefined) break;
      this.#isWritable = this.#sink.write(event);
    }
    this.#isPumping = false;
  }

  /** What comes next; undefined when there is nothing now. */
  #next(feed: Feed): Uint8Array | undefined {
    const settled = this.window.takeSettled();
    if (settled !== undefined) return settled;
    this.#isPushesTurn = !this.#isPushesTurn;
    if (this.#isPushesTurn && !this.#pushes.isEmpty()) return this.#pushes.take();
    const item = this.#nextStored(feed);
    if (item !== undefined) return encodeItem(item);
    if (this.#turnEndsAt === never) return this.#pushes.take();
    // It keeps its turn.
    this.#isPushesTurn = true;
    return undefined;
  }

  #nextStored(feed: Feed): FeedItem | undefined {
    if (this.window.isClosed()) {
      // The device works: what it has room for next is there by then.
      if (this.window.acknowledged() > 0 && feed.isUsedUp()) this.#load(feed);
      return undefined;
    }
    const item = feed.take();
    if (item !== undefined) this.window.add(item);
    if (item === undefined && this.#load(feed)) {
      // Its turn is kept for it, but pushes and heartbeats do not wait for a broker that does not answer.
      this.#turnEndsAt = performance.now() + pauses.turnMs;
      this.#arm();
    }
    return item;
  }

  #nextHeartbeat(feed: Feed): Uint8Array | undefined {
    // What is being read has the turn still.
    if (!this.#isHeartbeatDue || this.#turnEndsAt !== never) return undefined;
    this.#isHeartbeatDue = false;
    this.#heartbeatAt = performance.now() + this.#home.heartbeatMs;
    this.#arm();
    feed.reconcile();
    // The device may have acknowledged through another instance, whose word of it was lost.
    if (this.window.isClosed()) {
      const acknowledge = (cursor = 0) => this.acknowledge(cursor);
      this.#home.readCursor(this.deviceId).then(acknowledge, () => {}); // Or at the next heartbeat.
    }
    if (this.window.hasUnsettled(never)) this.#home.lookForSettled();
    const isBrokerAway = this.#hasReadFailed || this.#home.isBrokerAway();
    return encodeHeartbeat(feed.latestSequence(), this.#pushes.dropped(), isBrokerAway);
  }

  /** Begins to read the next page; false when there is none, or it is under way. */
  #load(feed: Feed): boolean {
    if (this.#loading !== "nothing" || !feed.mayHaveMore()) return false;
    this.#loading = "page";
    void this.#read(feed);
    return true;
  }

  async #read(feed: Feed): Promise<void> {
    try {
      // Of the window, not of what is left of it: a device that acknowledges one by one does not cost a read for each.
      await feed.load(this.window.size);
      this.#loading = "nothing";
      this.#hasReadFailed = false;
    } catch (err) {
      this.#loading = "retry";
      this.#hasReadFailed = true;
      this.#retryAt = performance.now() + pauses.readRetryMs;
      this.#home.failures.inboxUnread(err);
    }
    this.#turnEndsAt = never;
    this.#arm();
    this.#pump();
  }

  /** Has the timer go off at what is due next. */
  #arm(): void {
    if (this.#isOver || this.#ended !== undefined) return;
    const leftMs = Math.min(this.#heartbeatAt, this.#retryAt, this.#turnEndsAt) - performance.now();
    this.#home.timers.set(this.#timer, Math.min(leftMs, this.#expiresAtMs - Date.now(), pauses.longestMs));
  }

  #finish(sink: FrameSink, { last, error }: SessionEnd): void {
    if (this.#isOver) return;
    this.#close();
    if (last !== undefined) sink.write(encodeEvent(last));
    sink.end(error);
  }

  /** Lets go of everything. */
  #close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#isOpen = false;
    this.#sink = undefined;
    this.#pushes.close();
    this.#feed?.close();
    this.#home.timers.clear(this.#timer);
    this.opener?.onEnd?.();
  }
}
