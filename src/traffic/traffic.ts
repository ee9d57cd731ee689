import type { Distribution } from "../observe/distribution.ts";
import { type Door, doors } from "../observe/door.ts";
import { createRateLimit } from "../rate-limit.ts";

/**
 * Devices that are remembered to have been sent what they had not acknowledged when their session ended; of more, those
 * that have been away longest are forgotten, and what they are sent again is not counted as such.
 */
const maxInterrupted = 10_000;

/**
 * Users a second whose other devices are looked up, to tell whether they were first to acknowledge what had waited: a read
 * of the broker for each.
 */
const lookUps = { burst: 200, perSecond: 100 } as const;

/** What goes to the devices of a process and comes back from them, counted where it happens. */
export class Traffic {
  /** Sessions, with those being opened. */
  readonly sessions = Object.fromEntries(doors.map((door) => [door, 0])) as Record<Door, number>;
  /** Stored notifications that devices were sent. */
  stored = 0;
  /** Those of them that the device had been sent before. */
  again = 0;
  /** First acknowledgements whose time is not known. */
  unmeasured = 0;
  readonly #latency: Distribution;
  readonly #interrupted = new Map<string, number>();
  readonly #takeLookUp = createRateLimit(lookUps);

  /** @param latency from when a notification was stored to its first acknowledgement. */
  constructor(latency: Distribution) {
    this.#latency = latency;
  }

  /** A device was sent a stored notification. */
  send(isAgain: boolean): void {
    this.stored++;
    if (isAgain) this.again++;
  }

  /** A device has acknowledged a notification as the first of its user's, so long after it was stored. */
  reached(ms: number): void {
    // The broker's clock is another than ours.
    this.#latency.observe(Math.max(0, ms) / 1_000);
  }

  /** Whether a user's devices may be looked up now. */
  mayLookUp(): boolean {
    return this.#takeLookUp("") === 0;
  }

  /** A session has ended with something sent that is not acknowledged, up to a sequence. */
  interrupt(userId: string, deviceId: string, sentThrough: number): void {
    const device = toKey(userId, deviceId);
    this.#interrupted.delete(device);
    this.#interrupted.set(device, sentThrough);
    for (const oldest of this.#interrupted.keys()) {
      if (this.#interrupted.size <= maxInterrupted) break;
      this.#interrupted.delete(oldest);
    }
  }

  /** Up to where a device's last session was interrupted, which is then forgotten; 0 if it was not. */
  takeInterrupted(userId: string, deviceId: string): number {
    if (this.#interrupted.size === 0) return 0;
    const device = toKey(userId, deviceId);
    const sentThrough = this.#interrupted.get(device) ?? 0;
    this.#interrupted.delete(device);
    return sentThrough;
  }
}

function toKey(userId: string, deviceId: string): string {
  return JSON.stringify([userId, deviceId]);
}
