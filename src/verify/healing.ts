import type { DeviceHistory, History } from "./check/history.ts";
import { owedTo } from "./check/owed.ts";

/** How long after a fault each device that stays connected had everything. */
export interface Healing {
  readonly fault: string;
  readonly ms: number;
  /** Whether the next fault had begun by then: it may have taken longer for that. */
  readonly isDisturbed: boolean;
}

/**
 * Measures from the end of each fault until the last of the devices had what had been answered by that end. The devices
 * are those that are never away or stuck by themselves.
 */
export function healingOf(history: History, devices: readonly DeviceHistory[]): Healing[] {
  const owed = devices.flatMap((device) => owedTo(history, device));
  return history.marks.map(({ until, what }) => {
    let healedAt = until;
    for (const { since, came = until } of owed) if (since <= until && came > healedAt) healedAt = came;
    const isDisturbed = history.marks.some((other) => other.at < healedAt && other.until > until);
    return { fault: what, ms: healedAt - until, isDisturbed };
  });
}

/** Whether each of the devices has what had been answered by a moment. */
export function isHealed(history: History, devices: readonly DeviceHistory[], at: number): boolean {
  return devices.every((device) =>
    owedTo(history, device).every(({ since, came }) => since > at || came !== undefined),
  );
}
