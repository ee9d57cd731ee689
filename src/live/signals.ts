import { z } from "zod";
import { type Addressing, devicesHeader, readAddressing, writeAddressing } from "../addressing.ts";
import type { Broker } from "../broker/connect.ts";
import { listen, push, type Signal, tell, tellLater } from "../broker/signal.ts";
import { toPartition, toToken } from "../broker/subjects.ts";
import { deadlineIn } from "../deadline.ts";
import {
  ackSubject,
  groupPushSubject,
  groupVersionHeader,
  liveFilter,
  liveSessionSubject,
  memberSubject,
  parseLiveSubject,
  pushSubject,
  settledSubject,
  wakeSubject,
} from "./layout.ts";

const settled = z.object({ deviceId: z.string(), sequences: z.array(z.number()) });
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

/** What happens to the live sessions of one user, from whatever instance it comes. */
export interface LiveListener {
  /** An online push, encoded. */
  onPush(notification: Uint8Array, devices?: Addressing): void;
  /** A notification was stored; the body stays in the store. */
  onHint(sequence: number): void;
  /** A hint may have been lost: look into the inbox. */
  onWake(): void;
  /** The user has joined or left a group. */
  onMember(change: MemberSignal): void;
  /** A device acknowledged through an instance that does not hold its session. */
  onAck(deviceToken: string, sequence: number): void;
  /** A device has acknowledged notifications for the user; its cursor is stored, as far as the broker allowed. */
  onSettled(deviceId: string, sequences: readonly number[]): void;
  /** A device has a session; also of those of this instance. */
  onSession(deviceToken: string, signal: SessionSignal): void;
  /** Somebody asks for the platforms of the sessions here. */
  platforms(): readonly number[];
}

/** The subjects on which instances tell each other about a user, none of them stored. */
export interface Live {
  /**
   * Listens for one user. The broker listens before it answers what {@link Broker.ask} asks over the same connection from
   * then on.
   */
  subscribe(userId: string, listener: LiveListener): { stop(): void };
  /**
   * Publishes an online push to a user's sessions, or those of the devices that it is for.
   *
   * @throws NetworkError (90004) when the broker stays away.
   */
  push(userId: string, notification: Uint8Array, devices?: Addressing): Promise<void>;
  /** As {@link push}, but nobody waits for it, and while the broker stays away it is lost. */
  echo(userId: string, notification: Uint8Array): void;
  /**
   * Publishes an online push to a group, as it is at a version.
   *
   * @throws NetworkError (90004) when the broker stays away.
   */
  pushGroup(groupId: string, notification: Uint8Array, version: number): Promise<void>;
  /** Listens for the pushes to a group; instances of 0.1 do not tell the version. */
  subscribeGroup(
    groupId: string,
    onPush: (notification: Uint8Array, version: number | undefined) => void,
  ): { stop(): void };
  /** Tells every instance that users have joined or left a group. */
  publishMember(userIds: readonly string[], signal: MemberSignal): void;
  /** Has the user's sessions look into the inbox, by the user's subject token. */
  publishWake(userToken: string): void;
  /** Tells the instance that holds a device's session of an acknowledgement. */
  publishAck(userId: string, deviceId: string, sequence: number): void;
  /** Tells every instance that a device has acknowledged notifications for its user. */
  publishSettled(userId: string, deviceId: string, sequences: readonly number[]): void;
  /** Tells every instance again that a device has a session: some may have missed that it was opened. */
  publishSession(userId: string, deviceId: string, order: number): void;
}

/**
 * Creates the live subjects of a broker connection.
 *
 * @param timeoutMs how long the broker may be away before a subscription or a push fails.
 */
export function createLive(
  broker: Broker,
  { partitions, timeoutMs }: { readonly partitions: number; readonly timeoutMs: number },
): Live {
  /** The partition and the token of a user, as subjects begin with them. */
  const locate = (user: string) => [toPartition(user, partitions), user] as const;

  return {
    subscribe(userId, listener) {
      return listen(broker, liveFilter(...locate(toToken(userId))), (signal) => {
        const of = parseLiveSubject(signal.subject);
        switch (of?.kind) {
          case "push":
            return listener.onPush(signal.payload, readAddressing(signal.header(devicesHeader)));
          case "hint":
            return listener.onHint(Number(signal.header("Nats-Sequence")));
          case "wake":
            return listener.onWake();
          case "member":
            return listener.onMember(member.parse(JSON.parse(toText(signal))));
          case "ack":
            return listener.onAck(of.device, Number(toText(signal)));
          case "settled": {
            const { deviceId, sequences } = settled.parse(JSON.parse(toText(signal)));
            return listener.onSettled(deviceId, sequences);
          }
          case "session":
            return listener.onSession(of.device, readSession(signal));
          case "who":
            if (signal.reply) tell(broker, signal.reply, JSON.stringify(listener.platforms()));
            return;
        }
      });
    },
    push(userId, notification, devices) {
      const headers = devices && { [devicesHeader]: writeAddressing(devices) };
      return push(broker, pushSubject(...locate(toToken(userId))), notification, deadlineIn(timeoutMs), headers);
    },
    echo: (userId, notification) => tellLater(broker, pushSubject(...locate(toToken(userId))), notification),
    pushGroup(groupId, notification, version) {
      const headers = { [groupVersionHeader]: String(version) };
      return push(broker, groupPushSubject(toToken(groupId)), notification, deadlineIn(timeoutMs), headers);
    },
    subscribeGroup: (groupId, onPush) =>
      listen(broker, groupPushSubject(toToken(groupId)), ({ payload, header }) =>
        onPush(payload, Number(header(groupVersionHeader)) || undefined),
      ),
    publishMember(userIds, signal) {
      const change = JSON.stringify(signal);
      for (const userId of userIds) tell(broker, memberSubject(...locate(toToken(userId))), change);
    },
    publishWake(userToken) {
      tell(broker, wakeSubject(...locate(userToken)));
    },
    publishAck(userId, deviceId, sequence) {
      tell(broker, ackSubject(...locate(toToken(userId)), toToken(deviceId)), String(sequence));
    },
    publishSettled(userId, deviceId, sequences) {
      tell(broker, settledSubject(...locate(toToken(userId))), JSON.stringify({ deviceId, sequences }));
    },
    publishSession(userId, deviceId, order) {
      tell(broker, liveSessionSubject(...locate(toToken(userId)), toToken(deviceId)), String(order));
    },
  };
}

/** The broker tells of an opening by its sequence, without a body; an instance repeats it as the body. */
function readSession(signal: Signal): SessionSignal {
  const isRepeat = signal.payload.length > 0;
  return { isRepeat, order: Number(isRepeat ? toText(signal) : signal.header("Nats-Sequence")) };
}

function toText({ payload }: Signal): string {
  return Buffer.from(payload).toString("utf8");
}
