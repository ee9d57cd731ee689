import { type Clock, systemClock } from "../clock.ts";
import type { ReachEntry } from "./entry.ts";

/** Entries that the broker has let go of, and that are to be looked at again. */
export interface Reminders {
  /**
   * Keeps an entry for a look at a moment, in epoch milliseconds, and acknowledges it to the broker. The newest entry of
   * a user stands for all of them, since cursors are cumulative. False when too many users have one.
   */
  keep(entry: ReachEntry, dueMs: number): boolean;
}

type Reminder = { -readonly [Fact in keyof ReachEntry]: ReachEntry[Fact] };

/** Users that have a reminder at a time, by default: they take about 20 MB. */
const defaultMaxUsers = 50_000;

/**
 * Creates reminders. They are in memory only: with an instance a wake is lost, and the next heartbeat of a session looks
 * into the inbox as well.
 *
 * @param add gives an entry out at its time.
 */
export function createReminders(
  add: (entry: ReachEntry, dueMs: number) => void,
  maxUsers: number = defaultMaxUsers,
  clock: Clock = systemClock,
): Reminders {
  const ofUsers = new Map<string, Reminder>();

  const remind = ({ ack, ...entry }: ReachEntry, dueMs: number): void => {
    const key = keyOf(entry);
    const reminder: Reminder = {
      ...entry,
      reportId: undefined,
      ack: () => void ofUsers.delete(key),
      nak: (delayMs) => add(reminder, clock.now() + delayMs),
    };
    ofUsers.set(key, reminder);
    add(reminder, dueMs);
    ack();
  };

  return {
    keep(entry, dueMs) {
      const reminder = ofUsers.get(keyOf(entry));
      if (reminder === entry) add(reminder, dueMs);
      else if (reminder !== undefined) merge(reminder, entry);
      else if (ofUsers.size < maxUsers) remind(entry, dueMs);
      else return false;
      return true;
    },
  };
}

/** Cursors of other devices say nothing of what is for one of them. */
function keyOf({ userId, devices }: Pick<ReachEntry, "userId" | "devices">): string {
  return devices === undefined ? userId : JSON.stringify([userId, devices]);
}

/** Has a reminder stand for an entry, too: it is as young as the youngest, and expires with the last. */
function merge(reminder: Reminder, entry: ReachEntry): void {
  const { sequence, storedAtMs, expiresAtMs = Number.POSITIVE_INFINITY, notifications, ack } = entry;
  reminder.sequence = Math.max(reminder.sequence, sequence);
  reminder.storedAtMs = Math.max(reminder.storedAtMs, storedAtMs);
  if (reminder.expiresAtMs !== undefined && reminder.expiresAtMs < expiresAtMs)
    reminder.expiresAtMs = entry.expiresAtMs;
  reminder.notifications += notifications;
  ack();
}
