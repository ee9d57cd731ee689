import { createLane } from "./lane.ts";
import type { Listeners } from "./listeners.ts";
import type { BusinessNotification } from "./notification.ts";

/** How many online pushes may wait for a slow listener. */
const maxWaiting = 1_000;

/** The online pushes of one device: each is handled at most once, in order, and waits for no must-reach notification. */
export interface OnlinePush {
  /** Takes a notification. When too many wait, the oldest is dropped. */
  notification(notification: BusinessNotification): void;

  /** How many were dropped because the listeners were too slow. */
  dropped(): number;

  /** Forgets what waits and resolves when nothing is being handled. */
  drain(): Promise<void>;
}

/** Creates the online side of a client. A listener that throws is reported and not called again. */
export function createOnlinePush(
  listeners: Listeners<[BusinessNotification], void | Promise<void>>,
  onError: (error: unknown) => void,
): OnlinePush {
  const lane = createLane<BusinessNotification>(async (notification) => {
    for (const { call } of listeners) {
      try {
        await call(notification);
      } catch (error) {
        onError(error);
      }
    }
  }, maxWaiting);
  return {
    notification: lane.push,
    dropped: lane.dropped,
    drain() {
      lane.clear();
      return lane.idle();
    },
  };
}
