import { once } from "node:events";
import { createWriteStream } from "node:fs";
import type { History } from "./check/history.ts";

/** Writes a history down, one line of JSON for each thing that happened; times are milliseconds since the round began. */
export async function writeHistory(path: string, { sends, groups, devices, marks }: History): Promise<void> {
  const file = createWriteStream(path);
  for (const line of lines()) {
    if (!file.write(`${JSON.stringify(line)}\n`)) await once(file, "drain");
  }
  file.end();
  await once(file, "close");

  function* lines(): Generator<object> {
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
    for (const { userId, deviceId, sessions } of devices) {
      for (const { events, ...session } of sessions) {
        yield { kind: "session", userId, deviceId, ...session };
        for (const { kind, ...event } of events) yield { kind: "event", userId, deviceId, event: kind, ...event };
      }
    }
  }
}
