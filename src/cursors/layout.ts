import type { StreamSpec } from "../broker/declare.ts";

/** A device that stays away longer than the retention and this, in milliseconds, has no cursor. */
const graceMs = 7_776_000_000;

/** The stream of the CURSORS bucket. Its messages are kept longer than any notification. */
export const cursorStream = "KV_CURSORS";

/** The cursors of all devices of a user. */
export function cursorFilter(user: string): string {
  return `$KV.CURSORS.${user}.*`;
}

/** A device's cursor. */
export function cursorSubject(user: string, device: string): string {
  return `$KV.CURSORS.${user}.${device}`;
}

/** The user token of a cursor's subject. */
export function parseCursorSubject(subject: string): string {
  return subject.split(".")[2] ?? "";
}

/** How far each device has acknowledged. */
export function cursorSpec(retentionMs: number): StreamSpec {
  return {
    name: cursorStream,
    description: "the highest sequence that each device has acknowledged",
    subjects: ["$KV.CURSORS.>"],
    refusesWhenFull: true,
    maxAgeMs: retentionMs + graceMs,
  };
}
