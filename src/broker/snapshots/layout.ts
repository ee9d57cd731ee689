/** Where a copy of a stream is asked for. */
export function snapshotSubject(stream: string): string {
  return `$JS.API.STREAM.SNAPSHOT.${stream}`;
}

/** Where a stream is announced that is to be made of a copy. */
export function restoreSubject(stream: string): string {
  return `$JS.API.STREAM.RESTORE.${stream}`;
}
