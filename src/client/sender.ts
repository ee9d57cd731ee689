import { createCalls, createCallsOver } from "#client/receiving";
import { toClientError } from "./wire/error.ts";
import { createTokenSource, type Token } from "./wire/token.ts";
import type { ConnectTransport } from "./wire/transport.ts";
import { createPatience, wait, withDeadline } from "./wire/wait.ts";

export interface SenderOptions {
  /** Where the service answers, such as `http://127.0.0.1:10002`. */
  readonly baseUrl: string;

  /** An admin's token. */
  readonly token: Token;

  /** How calls travel. Default: Connect over fetch, to baseUrl. */
  readonly transport?: ConnectTransport | undefined;

  /**
   * When the network fails, or the service says that it may be tried again: delays before sending again, and for how
   * long in all, in milliseconds. Where the service asks for a delay, it is that, and up to half of it more; where nobody
   * answers, as a service that is being restarted, it is 1,500 at most. Default 200 to 5,000, for 30,000. Each attempt ends
   * after 15,000, as if nobody had answered.
   */
  readonly retry?:
    | { readonly minDelayMs?: number; readonly maxDelayMs?: number; readonly timeoutMs?: number }
    | undefined;

  /** The source of jitter, for tests. Default Math.random. */
  readonly random?: (() => number) | undefined;
}

/** A notification to send: to a user, to a group or to a list of users. */
export interface OutgoingNotification {
  /** Who sends: a system notification id or a user id. */
  readonly sendUserID: string;

  /** The receiving user. Exactly one of recvUserID, recvGroupID and recvUserIDs is set. */
  readonly recvUserID?: string | undefined;

  /** The receiving group. */
  readonly recvGroupID?: string | undefined;

  /** The receiving users, up to 1,000: one send, and each of them gets a notification of its own. */
  readonly recvUserIDs?: readonly string[] | undefined;

  /** The kind of business event. */
  readonly key: string;

  /** The business payload; may be empty. At most 262,144 bytes of UTF-8 unless the service is configured otherwise. */
  readonly data: string;

  /** Whether it must reach every device (reliabilityLevel 2), or is pushed to the connected ones. Default false. */
  readonly mustReach?: boolean | undefined;

  /** The idempotency key: sending it again sends nothing. Default: a new one for each call of `send`. */
  readonly clientMsgID?: string | undefined;

  /** With mustReach: seconds after which it is no longer worth delivering. Default: the retention. */
  readonly ttlSeconds?: number | undefined;

  /** Whether a chat copy is stored in the conversation as well. Default false. */
  readonly sendMsg?: boolean | undefined;

  /** Must-reach only: when to send it, in milliseconds since the Unix epoch. Default: now. */
  readonly sendAt?: number | undefined;

  /** Must-reach only: whether what becomes of it is reported, for each recipient. Default false. */
  readonly report?: boolean | undefined;

  /**
   * Must-reach only: `user` has the first device that acknowledges it withdraw it from the user's other devices. Default
   * `device`: each device gets it.
   */
  readonly ackScope?: "device" | "user" | undefined;

  /** With recvUserID: only this device of the user gets it. Default: all. At most one of the two is set. */
  readonly recvDeviceID?: string | undefined;

  /** With recvUserID: all devices of the user but this one get it. Default: all. */
  readonly exceptDeviceID?: string | undefined;
  /** Must-reach only, not with recvUserIDs: it replaces an earlier one of this key to the same recipient. */
  readonly collapseKey?: string | undefined;
}

/** What the service accepted. */
export interface SentNotification {
  /** Mustreach's id of the notification: 32 lower-case hex digits. */
  readonly serverMsgID: string;

  /** The idempotency key. */
  readonly clientMsgID: string;

  /** When Mustreach accepted it, in milliseconds since the Unix epoch. */
  readonly sendTime: number;

  /**
   * How durable it was then. `none`: an online push. `buffered`: one broker writes it to disk later. `replicated`: a
   * quorum of brokers does. `fsynced`: on disk on every broker that acknowledged it. `unknown`: the broker did not say.
   */
  readonly durability: "unknown" | "none" | "buffered" | "replicated" | "fsynced";
}

export interface Sender {
  /**
   * Sends one notification, again under the same clientMsgID when the network fails, so that it is accepted once. An
   * online push without a clientMsgID is tried once.
   *
   * @throws {MustreachClientError} as documented at MsgService.SendBusinessNotification. After 90004 it is not known
   * whether the notification was accepted: send again with the same clientMsgID.
   */
  send(notification: OutgoingNotification, options?: { readonly signal?: AbortSignal }): Promise<SentNotification>;
}

/** By the numbers of mustreach.msg.v1.Durability. */
const durabilities: readonly SentNotification["durability"][] = [
  "unknown",
  "none",
  "buffered",
  "replicated",
  "fsynced",
];

/** The numbers of mustreach.delivery.v1.AckScope. */
const ackScopes = { device: 0, user: 2 } as const;

/** How long one attempt may take, in milliseconds: longer than the service waits for its broker, by default. */
const attemptTimeoutMs = 15_000;

/**
 * For an app's back end.
 *
 * @throws {TypeError} for a baseUrl that is not an http or https address.
 */
export function createSender(options: SenderOptions): Sender {
  const { baseUrl, transport, random } = options;
  const { timeoutMs, ...delays } = { minDelayMs: 200, maxDelayMs: 5_000, timeoutMs: 30_000, ...options.retry };
  const tokens = createTokenSource(options.token);
  const service = transport === undefined ? createCalls(baseUrl) : createCallsOver(transport);

  return {
    async send(notification, { signal } = {}) {
      const request = {
        sendUserId: notification.sendUserID,
        recvUserId: notification.recvUserID ?? "",
        recvGroupId: notification.recvGroupID ?? "",
        key: notification.key,
        data: notification.data,
        sendMsg: notification.sendMsg ?? false,
        reliabilityLevel: notification.mustReach ? 2 : 1,
        // An online push without an id of the caller's gets none here: the service would have to record it on disk.
        clientMsgId: notification.clientMsgID || (notification.mustReach ? createClientMsgID() : ""),
        ttlSeconds: notification.ttlSeconds ?? 0,
        sendAt: BigInt(notification.sendAt ?? 0),
        report: notification.report ?? false,
        ackScope: notification.ackScope === "user" ? ackScopes.user : ackScopes.device,
        recvDeviceId: notification.recvDeviceID ?? "",
        exceptDeviceId: notification.exceptDeviceID ?? "",
        recvUserIds: [...(notification.recvUserIDs ?? [])],
        collapseKey: notification.collapseKey ?? "",
      };
      const patience = createPatience({ ...delays, random });
      const giveUpAt = Date.now() + timeoutMs;
      for (;;) {
        signal?.throwIfAborted();
        try {
          const { serverMsgId, clientMsgId, sendTime, durability } = await withDeadline(
            attemptTimeoutMs,
            signal,
            (attempt) => tokens.use((token) => service.send(request, { token, signal: attempt })),
          );
          return {
            serverMsgID: serverMsgId,
            clientMsgID: clientMsgId,
            sendTime: Number(sendTime),
            durability: durabilities[durability] ?? "unknown",
          };
        } catch (thrown) {
          signal?.throwIfAborted();
          const error = toClientError(thrown);
          const isSafe = request.clientMsgId !== "";
          if (!isSafe || error.retryAfterMs === undefined) throw error;
          const delayMs = patience.next(error);
          if (Date.now() + delayMs > giveUpAt) throw error;
          await wait(delayMs, signal);
        }
      }
    },
  };
}

/** An idempotency key: a UUIDv7 (RFC 9562 5.7) as 32 lower-case hex digits, so that keys order by time. */
export function createClientMsgID(timeMs = Date.now()): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.floor(timeMs / 2 ** 16));
  view.setUint16(4, timeMs % 2 ** 16);
  view.setUint8(6, 0x70 | (view.getUint8(6) & 0x0f));
  view.setUint8(8, 0x80 | (view.getUint8(8) & 0x3f));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
