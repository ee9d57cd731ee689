import type { Msg } from "@nats-io/transport-node";
import { z } from "zod";
import type { Broker } from "../broker/connect.ts";
import { toFailure } from "../broker/faults.ts";
import type { Publisher } from "../broker/publish.ts";
import { toPartition, toToken } from "../broker/subjects.ts";
import {
  ackSubject,
  groupPushSubject,
  liveFilter,
  liveSessionSubject,
  memberSubject,
  parseLiveSubject,
  pushSubject,
  wakeSubject,
} from "./layout.ts";

const member = z.object({ groupId: z.string(), joined: z.boolean(), version: z.number() });

/** That a user has joined or left a group. */
export interface MemberSignal {
  readonly groupId: string;
  readonly joined: boolean;
  /** Of the group; of two signals, the one with the higher version counts. */
  readonly version: number;
}

/** That a device has a session. */
export interface SessionSignal {
  /** Its place in the order of the device's sessions; see `OpenSession` in session-order.ts. */
  readonly order: number;
  /** Whether its instance tells it again, and not the broker when it was opened. */
  readonly isRepeat: boolean;
}

/** How long a subscription waits for the broker, in milliseconds. */
const subscribeTimeoutMs = 1_000;

/** What happens to the live sessions of one user, from whatever instance it comes. */
export interface LiveListener {
  /** An online push, encoded. */
  onPush(notification: Uint8Array): void;
  /** A notification was stored; the body stays in the store. */
  onHint(sequence: number): void;
  /** A hint may have been lost: look into the inbox. */
  onWake(): void;
  /** The user has joined or left a group. */
  onMember(change: MemberSignal): void;
  /** A device acknowledged through an instance that does not hold its session. */
  onAck(deviceToken: string, sequence: number): void;
  /** A device has a session; also of those of this instance. */
  onSession(deviceToken: string, signal: SessionSignal): void;
}

/** The subjects on which instances tell each other about a user, none of them stored. */
export interface Live {
  /** Listens for one user. Resolves when the broker has the subscription, so that nothing after it is missed. */
  subscribe(userId: string, listener: LiveListener): Promise<{ close(): void }>;
  /**
   * Publishes an online push to a user's sessions.
   *
   * @throws NetworkError (90004) when the broker stays away for the send timeout.
   */
  push(userId: string, notification: Uint8Array): Promise<void>;
  /**
   * Publishes an online push to a group.
   *
   * @throws NetworkError (90004) when the broker stays away for the send timeout.
   */
  pushGroup(groupId: string, notification: Uint8Array): Promise<void>;
  /** Listens for the pushes to a group. */
  subscribeGroup(groupId: string, onPush: (notification: Uint8Array) => void): { close(): void };
  /** Tells every instance that users have joined or left a group. */
  publishMember(userIds: readonly string[], signal: MemberSignal): void;
  /** Has the user's sessions look into the inbox, by the user's subject token. */
  publishWake(userToken: string): void;
  /** Tells the instance that holds a device's session of an acknowledgement. */
  publishAck(userId: string, deviceId: string, sequence: number): void;
  /** Tells every instance again that a device has a session: some may have missed that it was opened. */
  publishSession(userId: string, deviceId: string, order: number): void;
}

/** Creates the live subjects of a broker connection. */
export function createLive(broker: Broker, publisher: Publisher, partitions: number): Live {
  /** What instances tell each other may be lost, and is when there is no connection any more. */
  const tell = (subject: string, payload?: string): void => {
    if (!broker.nc.isClosed()) broker.nc.publish(subject, payload);
  };

  return {
    async subscribe(userId, listener) {
      await broker.whenConnected(Date.now() + subscribeTimeoutMs);
      const user = toToken(userId);
      const subscription = broker.nc.subscribe(liveFilter(toPartition(user, partitions), user), {
        callback(error, msg) {
          const signal = error === null ? parseLiveSubject(msg.subject) : undefined;
          switch (signal?.kind) {
            case "push":
              return listener.onPush(msg.data);
            case "hint":
              return listener.onHint(Number(msg.headers?.get("Nats-Sequence")));
            case "wake":
              return listener.onWake();
            case "member":
              return listener.onMember(member.parse(msg.json()));
            case "ack":
              return listener.onAck(signal.device, Number(msg.string()));
            case "session":
              return listener.onSession(signal.device, readSession(msg));
          }
        },
      });
      try {
        await broker.nc.flush();
      } catch (cause) {
        subscription.unsubscribe();
        throw toFailure(cause);
      }
      return { close: () => subscription.unsubscribe() };
    },
    push(userId, notification) {
      const user = toToken(userId);
      return publisher.push(pushSubject(toPartition(user, partitions), user), notification);
    },
    pushGroup: (groupId, notification) => publisher.push(groupPushSubject(toToken(groupId)), notification),
    subscribeGroup(groupId, onPush) {
      const subscription = broker.nc.subscribe(groupPushSubject(toToken(groupId)), {
        callback(error, msg) {
          if (error === null) onPush(msg.data);
        },
      });
      return { close: () => subscription.unsubscribe() };
    },
    publishMember(userIds, signal) {
      const change = JSON.stringify(signal);
      for (const userId of userIds) {
        const user = toToken(userId);
        tell(memberSubject(toPartition(user, partitions), user), change);
      }
    },
    publishWake(userToken) {
      tell(wakeSubject(toPartition(userToken, partitions), userToken));
    },
    publishAck(userId, deviceId, sequence) {
      const user = toToken(userId);
      tell(ackSubject(toPartition(user, partitions), user, toToken(deviceId)), String(sequence));
    },
    publishSession(userId, deviceId, order) {
      const user = toToken(userId);
      tell(liveSessionSubject(toPartition(user, partitions), user, toToken(deviceId)), String(order));
    },
  };
}

/** The broker tells of an opening by its sequence, without a body; an instance repeats it as the body. */
function readSession(msg: Msg): SessionSignal {
  const isRepeat = msg.data.length > 0;
  return { isRepeat, order: Number(isRepeat ? msg.string() : msg.headers?.get("Nats-Sequence")) };
}
