/** Where it is recorded that a send was recalled; the partition is that of its id. */
export function recalledSubject(partition: number, send: string): string {
  return `recalled.${partition}.${send}`;
}

/** A part of what a recall found in the inboxes. `~` is in no token of an id. */
export function recallFindingsSubject(partition: number, send: string, part: number): string {
  return `recalled.${partition}.${send}~${part}`;
}
