/** The oldest nats-server with everything that the service uses: multi_last reads, atomic batches, TTL, schedules. */
export const natsServerFloor = "2.14.0";

/** Whether a version is another one or later. A pre-release comes before its release. */
export function isAtLeast(version: string, floor: string): boolean {
  const [release = "", preRelease] = version.split(/-(.*)/);
  const [floorRelease = "", floorPreRelease] = floor.split(/-(.*)/);
  const [is, least] = [release.split(".").map(Number), floorRelease.split(".").map(Number)];
  for (const [i, part] of least.entries()) {
    const difference = (is[i] ?? 0) - part;
    if (difference !== 0) return difference > 0;
  }
  if (preRelease === undefined || floorPreRelease === undefined) return preRelease === undefined;
  return preRelease.localeCompare(floorPreRelease, "en", { numeric: true }) >= 0;
}
