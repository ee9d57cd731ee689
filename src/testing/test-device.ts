import { EventEmitter, once } from "node:events";
import { type BusinessNotification, createClient } from "../client/index.ts";

export interface ReceiveOptions {
  /** The device's name. Default `test`. */
  readonly deviceId?: string | undefined;

  /** Where a device begins that has acknowledged nothing: as the client's `start`. Default `resume`. */
  readonly start?: "resume" | "new" | "all" | undefined;
}

/** A device that receives, and acknowledges what it has got. */
export interface TestDevice {
  /** All that it has got, in its order. */
  readonly received: readonly BusinessNotification[];

  /**
   * Takes the next of what it has got, and waits for it.
   *
   * @param options `timeoutMs`: how long, in milliseconds. Default 5,000.
   * @throws {Error} when it did not come in time, or the device cannot receive any more.
   */
  next(options?: { readonly timeoutMs?: number | undefined }): Promise<BusinessNotification>;

  /** Acknowledges what it has got, and ends its session. */
  close(): Promise<void>;
}

const defaultTimeoutMs = 5_000;

/** Opens a device; resolves when its session is ready. */
export async function openDevice(baseUrl: string, token: string, options: ReceiveOptions = {}): Promise<TestDevice> {
  const { deviceId = "test", start } = options;
  const received: BusinessNotification[] = [];
  const arrivals = new EventEmitter().setMaxListeners(0);
  const closed = new AbortController();
  let taken = 0;
  const client = createClient({
    ...{ baseUrl, token, deviceId, start },
    onStatus(status, error) {
      if (status === "closed") closed.abort(error ?? new Error(`the device ${deviceId} is closed`));
    },
  });
  client.onRecvCustomBusinessMessage((notification) => {
    received.push(notification);
    arrivals.emit("notification");
  });
  try {
    await client.connect();
  } catch (error) {
    await client.close({ deadlineMs: 0 });
    throw error;
  }

  return {
    received,
    async next({ timeoutMs = defaultTimeoutMs } = {}) {
      const late = AbortSignal.timeout(timeoutMs);
      for (;;) {
        const notification = received[taken];
        if (notification !== undefined) {
          taken++;
          return notification;
        }
        closed.signal.throwIfAborted();
        await once(arrivals, "notification", { signal: AbortSignal.any([late, closed.signal]) }).catch(() => {});
        if (late.aborted && received[taken] === undefined) {
          throw new Error(`${deviceId} has got ${received.length}, and no other within ${timeoutMs} ms`);
        }
      }
    },
    close: () => client.close(),
  };
}
