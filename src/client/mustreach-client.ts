import type { ClientStatus } from "./client-options.ts";
import type {
  BusinessNotification,
  ChatMessage,
  NotificationGap,
  RecalledNotification,
  SettledNotification,
} from "./notification.ts";

/** One device of one user. Every `on…` returns a function that unregisters the listener. */
export interface MustreachClient {
  /**
   * Registers a listener. A notification is acknowledged when all listeners, called one after another, have resolved.
   * A listener that throws is called again with backoff, until it resolves, is unregistered or the client closes;
   * later must-reach notifications wait. Online pushes (sequence 0) do not wait for them, and are not tried again.
   */
  onRecvCustomBusinessMessage(listener: (notification: BusinessNotification) => void | Promise<void>): () => void;

  /**
   * Registers a listener of chat copies (sendMsg = true), which are handled as must-reach notifications are. Without
   * one they are acknowledged.
   */
  onRecvNewMessage(listener: (message: ChatMessage) => void | Promise<void>): () => void;

  /**
   * Registers a listener of recalls, which are handled as must-reach notifications are. Without one they are
   * acknowledged.
   */
  onRecall(listener: (recalled: RecalledNotification) => void | Promise<void>): () => void;

  /**
   * Registers a listener of notifications that another device of the user has acknowledged for all of them (ackScope
   * `user`): what this device has shown of them is to be taken back. They are handled as must-reach notifications are.
   * Without one they are acknowledged. Such a notification is no longer given to onRecvCustomBusinessMessage, and is not
   * tried again there.
   */
  onSettled(listener: (settled: SettledNotification) => void | Promise<void>): () => void;

  /** Registers a listener of gaps, which are handled as must-reach notifications are. Without one, onError is told. */
  onGap(listener: (gap: NotificationGap) => void | Promise<void>): () => void;

  /** Registers a listener of the status, with the reason of `waiting` or `closed` when that was an error. */
  onStatus(listener: (status: ClientStatus, error?: unknown) => void): () => void;

  /**
   * Registers a listener of everything that went wrong: a {@link MustreachClientError} of the service or the wire, or
   * what a listener, the cursor store or the token function threw. Only the error of status `closed` is final.
   */
  onError(listener: (error: unknown) => void): () => void;

  /**
   * Connects and stays connected. Resolves when the first session is ready; calling it again changes nothing.
   *
   * @throws {MustreachClientError} 1001 for a bad argument, 1002 and 1501 to 1507 for a bad token, 1506 when superseded
   * or logged out, 90004 when closed before.
   */
  connect(): Promise<void>;

  /**
   * Takes no more notifications, waits for the listeners that are running, acknowledges what they have handled and
   * ends the session. Do not wait for it within a listener: each would wait for the other.
   *
   * @param options.deadlineMs when to give up the waiting. What is then handled is not acknowledged. Default: never.
   */
  close(options?: { readonly deadlineMs?: number }): Promise<void>;

  /** The status. */
  status(): ClientStatus;

  /** How many online pushes were dropped so far, here or at the service, because this device was too slow. */
  droppedOnlinePushes(): number;
}
