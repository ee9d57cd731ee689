import { once } from "node:events";
import { createWriteStream } from "node:fs";
import type { History } from "./check/history.ts";

/** A file of what happened, round after round, so that nothing of it needs to be kept. */
export interface HistoryFile {
  /** Writes a round down, and resolves to its first and last line in the file, from 1. */
  add(round: number, history: History): Promise<{ readonly first: number; readonly last: number }>;
  close(): Promise<void>;
}

/** Opens it anew: one line of JSON for each thing that happened; times are milliseconds since its round began. */
export function openHistoryFile(path: string): HistoryFile {
  const file = createWriteStream(path);
  let written = 0;
  return {
    async add(round, history) {
      const first = written + 1;
      for (const line of linesOf(history)) {
        written++;
        if (!file.write(`${JSON.stringify({ round, ...line })}\n`)) await once(file, "drain");
      }
      return { first, last: written };
    },
    async close() {
      file.end();
      await once(file, "close");
    },
  };
}

function* linesOf({ sends, groups, devices, marks }: History): Generator<object> {
  for (const { at, until, what } of marks) yield { kind: "fault", at, until, what };
  for (const [groupId, { firstMembers, changes }] of groups) {
    yield { kind: "group", groupId, firstMembers: [...firstMembers] };
    for (const change of changes) yield { kind: "membership", groupId, ...change };
  }
  for (const { attempts, recalls, ...send } of sends.values()) {
    yield { kind: "send", ...send };
    for (const attempt of attempts) yield { kind: "attempt", of: send.data, ...attempt };
    for (const recall of recalls) yield { kind: "recall", of: send.data, ...recall };
  }
  for (const { userId, deviceId, kind: by, sessions, acknowledged } of devices) {
    yield { kind: "device", userId, deviceId, by };
    for (const each of acknowledged) yield { kind: "acknowledgement", userId, deviceId, ...each };
    for (const { events, ...session } of sessions) {
      yield { kind: "session", userId, deviceId, ...session };
      for (const { kind, ...event } of events) yield { kind: "event", userId, deviceId, event: kind, ...event };
    }
  }
}
