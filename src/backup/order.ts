/**
 * In which order streams are copied while the service runs, so that what is between two of them is in both copies, and
 * never in none.
 *
 * Cursors come first: none is then ahead of its inbox. What moves on is copied where it comes from before where it goes
 * to: scheduled sends, then those that are expanded, then the inboxes with the records of sends, then what is looked at
 * later, escalated and reported. Doing a job twice changes nothing; one that is in no copy would never be done. The rest
 * changes by itself.
 */
const order = [
  /^KV_CURSORS$/,
  /^SCHEDULE$/,
  /^FANOUT$/,
  /^INBOX_\d+$/,
  /^LATER_LOOKS$/,
  /^ESCALATIONS$/,
  /^DEAD_LETTERS$/,
  /^REPORT_JOBS$/,
  /^REPORTS$/,
  /^CHAT$/,
  // A job names a version of its group, which knows older ones too.
  /^GROUPS$/,
  // A token must not come back.
  /^KV_REVOKED$/,
  // How often the order of sessions, which is in memory alone, began anew; and what keeps tickets from being used twice.
  /^EPOCHS$/,
  /^TICKETS$/,
];

/** What is in memory, and gone with its broker. */
const unkept = /^SESSIONS$/;

/** Those of the given streams that are Mustreach's and kept, in the order in which they are copied. */
export function inCopyOrder(streams: readonly string[]): readonly string[] {
  return order.flatMap((pattern) => streams.filter((stream) => pattern.test(stream)).toSorted());
}

/** Whether it is known what to do with a stream. */
export function isKnown(stream: string): boolean {
  return unkept.test(stream) || order.some((pattern) => pattern.test(stream));
}
