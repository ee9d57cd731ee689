import type { Logger } from "pino";
import { toToken } from "../broker/subjects.ts";
import { failure } from "../errors.ts";
import type { Gap_Reason } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Cursors } from "../inbox/cursors.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { Place } from "../inbox/places.ts";
import type { Admission } from "./admission.ts";
import type { ReadInbox } from "./feed.ts";
import type { GroupMembership, GroupPush } from "./group-push.ts";
import { type Push, type PushMemory, toPush } from "./push-queue.ts";
import { createSession, type Session, type SessionEnd } from "./session.ts";
import type { OpenSession } from "./session-order.ts";
import { createSharedRead } from "./shared-read.ts";
import type { Live, LiveListener } from "./signals.ts";
import { createTakeover, type Takeover } from "./takeover.ts";

export interface HubOptions {
  readonly inbox: Inbox;
  readonly live: Live;
  readonly openSession: OpenSession;
  readonly cursors: Pick<Cursors, "read">;
  readonly groupPush: GroupPush;
  /** Told of each gap that a device is told of. */
  readonly onGap: (reason: Gap_Reason) => void;
  /** Counts the sessions. */
  readonly admission: Admission;
  /** Where online pushes wait. */
  readonly pushMemory: PushMemory;
  /** Whether the connection to the broker is down. */
  readonly isBrokerAway: () => boolean;
  /** How often an idle session sends a heartbeat, in milliseconds. */
  readonly heartbeatMs: number;
  readonly log: Logger;
}

/** What a session is opened with. */
export interface OpenOptions {
  readonly userId: string;
  readonly deviceId: string;
  /** The address that it is opened from. */
  readonly peer: string;
  /** Whether the token that opens it has been revoked by now. */
  readonly isRevoked: () => boolean;
  /** How many must-reach notifications may be unacknowledged. */
  readonly window: number;
  /** Asked when the user's live signals are being received, so that nothing is stored unseen in between. */
  readonly resume: () => Promise<Place>;
}

/** The sessions of this instance, by user and device. */
export interface Hub {
  /**
   * Opens a session, and ends older ones of the same device on every instance with 1506. Of several, the one whose
   * opening the broker recorded last stays; another may have ended by the time that this resolves.
   *
   * @throws ConnOverMaxNumLimit (1601) as {@link Admission.enter}, ServerStoppingError (90103) when the instance is
   * stopping, NetworkError (90004) when the broker does not answer in time.
   */
  open(options: OpenOptions): Promise<Session>;
  /** Forgets a session. A user's live signals are no longer received when it was the last. */
  close(userId: string, session: Session): void;
  /** Lets the device's session, wherever it is, send more. */
  acknowledge(userId: string, deviceId: string, sequence: number): void;
  /** Whether the device's session is here, and was sent a sequence or what follows it. */
  wasSent(userId: string, deviceId: string, sequence: number): boolean;
  /** Ends a user's sessions whose tokens have been revoked, with 1506. */
  endRevoked(userId: string): void;
  /** Has every session look into its inbox, and tells others of them, after signals may have been lost. */
  reconcileAll(): void;
  /** Ends every session after a `reconnect` event, and refuses new ones. */
  drain(): void;
  /** How many sessions there are. */
  size(): number;
}

interface User {
  readonly sessions: Takeover;
  readonly groups: GroupMembership;
  /** Resolves when the user's live signals are being received. */
  readonly listening: Promise<{ close(): void }>;
  readonly read: ReadInbox;
  /** Sessions, with those being opened. */
  count: number;
}

export function createHub(options: HubOptions): Hub {
  const { inbox, live, openSession, cursors, groupPush, onGap, admission, pushMemory, heartbeatMs, log } = options;
  const users = new Map<string, User>();
  /** How sessions are counted out. */
  const exits = new WeakMap<Session, () => void>();
  let draining = false;

  const join = (userId: string): User => {
    let user = users.get(userId);
    if (user === undefined) {
      const sessions = createTakeover({
        // The newer session's device may have acknowledged here before we heard of it.
        onReplaced(session) {
          if (session.acknowledged() > 0) live.publishAck(userId, session.deviceId, session.acknowledged());
        },
        tell: (session, order) => live.publishSession(userId, session.deviceId, order),
      });
      const pushToAll = (push: Push) => {
        for (const { session } of sessions) session.push(push);
      };
      const groups = groupPush.join(userId, pushToAll);
      const listening = live
        .subscribe(userId, toListener(sessions, pushToAll, groups.change))
        .then(async (subscription) => {
          await groups.refresh().catch((error: unknown) => {
            subscription.close();
            throw error;
          });
          return subscription;
        });
      user = { sessions, groups, listening, read: createSharedRead(userId, inbox), count: 0 };
      users.set(userId, user);
    }
    user.count++;
    return user;
  };

  const leave = (userId: string, user: User): void => {
    if (--user.count > 0) return;
    users.delete(userId);
    user.groups.close();
    user.listening.then(
      (subscription) => subscription.close(),
      () => {}, // It was never made.
    );
  };

  return {
    async open({ userId, deviceId, peer, isRevoked, window, resume }) {
      if (draining) throw failure("ServerStoppingError", "the server is stopping");
      const device = toToken(deviceId);
      const isTakeover = (users.get(userId)?.sessions.of(device).length ?? 0) > 0;
      const exit = await admission.enter({ userId, peer, device, isTakeover });
      const user = join(userId);
      try {
        await user.listening;
        const session = createSession({
          deviceId,
          resume: await resume(),
          window,
          heartbeatMs,
          pushes: pushMemory.openQueue(),
          isBrokerAway: options.isBrokerAway,
          onGap,
          read: user.read,
          readCursor: () => cursors.read(userId, deviceId),
          oldestSequence: () => inbox.oldestSequence(userId),
          log,
        });
        if (draining) throw failure("ServerStoppingError", "the server is stopping");
        await user.sessions.enter({ session, device, isRevoked }, () => openSession(userId, deviceId));
        exits.set(session, exit);
        return session;
      } catch (error) {
        exit();
        leave(userId, user);
        throw error;
      }
    },

    close(userId, session) {
      const user = users.get(userId);
      if (user === undefined) return;
      user.sessions.leave(session);
      exits.get(session)?.();
      leave(userId, user);
    },

    acknowledge(userId, deviceId, sequence) {
      const open = users.get(userId)?.sessions.of(toToken(deviceId)) ?? [];
      // What is here may be the remains of a session that another instance has by now.
      const isNews = open.map((session) => session.acknowledge(sequence)).includes(true);
      if (!isNews) live.publishAck(userId, deviceId, sequence);
    },

    wasSent(userId, deviceId, sequence) {
      const open = users.get(userId)?.sessions.of(toToken(deviceId)) ?? [];
      return open.some((session) => sequence <= session.sentThrough());
    },

    endRevoked(userId) {
      for (const { session, isRevoked } of users.get(userId)?.sessions ?? []) {
        if (isRevoked()) session.end({ error: failure("TokenKickedError", "the token was revoked") });
      }
    },

    reconcileAll() {
      for (const user of users.values()) {
        user.groups.refresh().catch((err: unknown) => log.warn({ err }, "cannot read a user's groups now"));
        for (const { session } of user.sessions) session.reconcile();
        user.sessions.repeat();
      }
    },

    drain() {
      draining = true;
      for (const user of users.values()) {
        for (const { session } of user.sessions) session.end(drained());
      }
    },

    size: admission.size,
  };
}

function toListener(sessions: Takeover, push: (push: Push) => void, onMember: LiveListener["onMember"]): LiveListener {
  return {
    // Decoded once for all sessions of the user.
    onPush: (encoded) => push(toPush(encoded)),
    onMember,
    onHint(sequence) {
      for (const { session } of sessions) session.hint(sequence);
    },
    onWake() {
      for (const { session } of sessions) session.reconcile();
    },
    onAck(device, sequence) {
      for (const session of sessions.of(device)) session.acknowledge(sequence);
    },
    onSession: sessions.hear,
  };
}

function drained(): SessionEnd {
  // Spread, so that a stop is not followed by a storm.
  const afterMs = 500 + Math.floor(Math.random() * 2_000);
  return { last: { case: "reconnect", value: { afterMs, reason: "the server is stopping" } } };
}
