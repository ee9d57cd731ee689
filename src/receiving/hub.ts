import type { BaseLogger } from "pino";
import { toToken } from "../broker/subjects.ts";
import { sayWaiting } from "../broker/waiting-lines.ts";
import { failure } from "../errors.ts";
import type { Place } from "../inbox/places.ts";
import type { PushMemory } from "../live/push-queue.ts";
import type { OpenSession } from "../live/session-order.ts";
import type { Admission } from "./admission.ts";
import { Session } from "./session.ts";
import { sessionEnds } from "./session-end.ts";
import type { Failures, SessionOpener } from "./session-options.ts";
import { User, type UserDeps } from "./user.ts";

export interface HubOptions extends Omit<UserDeps, "failures"> {
  readonly log: BaseLogger;
  readonly openSession: OpenSession;
  /** Counts the sessions. */
  readonly admission: Admission;
  /** Where online pushes wait. */
  readonly pushMemory: PushMemory;
}

/** What a session is opened with, by whom; its end follows {@link Session.pipe}. */
export interface OpenOptions extends SessionOpener {
  readonly userId: string;
  readonly deviceId: string;
  /** The address that it is opened from. */
  readonly peer: string;
  /** When that token expires, in epoch milliseconds. Default: never. */
  readonly expiresAtMs?: number | undefined;
  /** How many must-reach notifications may be unacknowledged. */
  readonly window: number;
  /** Finds the place after which it continues. */
  findPlace(): Promise<Place>;
}

/** The sessions of this instance, by user and device. */
export interface Hub {
  /**
   * Opens a session, and ends older ones of the same device on every instance with 1506. Of several, the one whose
   * opening the broker recorded last stays; another may have ended by the time that this resolves. From then on the
   * user's live signals are being received: nothing is stored unseen before the session reads for the first time.
   *
   * @throws ConnOverMaxNumLimit (1601) as {@link Admission.enter} and {@link Replays.requireRoom}, ServerStoppingError
   * (90103) when the instance is stopping, NetworkError (90004) when the broker does not answer in time.
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
  /** How many stored notifications the devices of all sessions have not acknowledged, as of the last read of each. */
  backlog(): number;
}

export function createHub(options: HubOptions): Hub {
  const { live, openSession, admission, replays, pushMemory, traffic } = options;
  const deps = { ...options, failures: createFailures(options.log) };
  const users = new Map<string, User>();
  let draining = false;

  const join = (userId: string): User => {
    let user = users.get(userId);
    if (user === undefined) {
      user = new User(userId, deps);
      users.set(userId, user);
    }
    user.count++;
    return user;
  };

  const count = ({ door }: SessionOpener, by: 1 | -1): void => {
    if (door !== undefined) traffic.sessions[door] += by;
  };

  const leave = (userId: string, user: User): void => {
    if (--user.count > 0) return;
    users.delete(userId);
    user.close();
  };

  const sessionsOf = (userId: string, deviceId: string): Session[] =>
    users.get(userId)?.sessions.of(toToken(deviceId)) ?? [];

  return {
    async open(opener) {
      const { userId, deviceId, peer, expiresAtMs, window } = opener;
      if (draining) throw failure("ServerStoppingError", "the server is stopping");
      const device = toToken(deviceId);
      const isTakeover = (users.get(userId)?.sessions.of(device).length ?? 0) > 0;
      replays.requireRoom(userId);
      const exit = await admission.enter({ userId, peer, device, isTakeover });
      count(opener, 1);
      const user = join(userId);
      const pushes = pushMemory.openQueue();
      const session = new Session({ home: user, deviceId, window, pushes, expiresAtMs, exit, opener });
      try {
        user.listen();
        // The opening is recorded over the connection of the live signals, and after they were asked for: its answer
        // says that they are received, without a round trip of their own.
        const record = () => openSession(userId, deviceId);
        const entering = user.sessions.enter({ session, device }, record);
        const [place] = await Promise.all([opener.findPlace(), entering]);
        if (draining) throw failure("ServerStoppingError", "the server is stopping");
        user.acknowledgements.knowAcknowledged(place.sequence);
        session.begin(place, traffic.takeInterrupted(userId, deviceId));
        return session;
      } catch (error) {
        user.sessions.leave(session);
        pushes.close();
        exit();
        count(opener, -1);
        leave(userId, user);
        throw error;
      }
    },

    close(userId, session) {
      const user = users.get(userId);
      if (user === undefined) return;
      user.sessions.leave(session);
      session.exit();
      if (session.opener !== undefined) count(session.opener, -1);
      const { window, deviceId } = session;
      if (window.unacknowledged() > 0) traffic.interrupt(userId, deviceId, window.sentThrough());
      leave(userId, user);
    },

    acknowledge(userId, deviceId, sequence) {
      // What is here may be the remains of a session that another instance has by now.
      let isNews = false;
      for (const session of sessionsOf(userId, deviceId)) isNews = session.acknowledge(sequence) || isNews;
      if (!isNews) live.publishAck(userId, deviceId, sequence);
    },

    wasSent(userId, deviceId, sequence) {
      return sessionsOf(userId, deviceId).some(({ window }) => sequence <= window.sentThrough());
    },

    endRevoked(userId) {
      for (const { session } of users.get(userId)?.sessions ?? []) {
        if (session.opener?.isRevoked()) session.end(sessionEnds.revoked());
      }
    },

    reconcileAll() {
      for (const user of users.values()) user.reconcile();
    },

    drain() {
      draining = true;
      for (const user of users.values()) {
        for (const { session } of user.sessions) session.end(sessionEnds.drained());
      }
    },

    size: admission.size,

    backlog() {
      let sum = 0;
      for (const user of users.values()) for (const { session } of user.sessions) sum += session.backlog();
      return sum;
    },
  };
}

/** Creates what says so in the log, of each at once and every ten seconds. */
export function createFailures(log: BaseLogger): Failures {
  const say = (line: string) => sayWaiting((err) => log.warn({ err }, line));
  return {
    inboxUnread: say("cannot read inboxes now; their sessions wait"),
    groupsUnread: say("cannot read users' groups now"),
    settledUntold: say("cannot tell now what devices have acknowledged; it is found out later"),
  };
}
