/** The stream of the REVOKED bucket, all its entries, and where each is told to the instances that listen. */
export const revokedStream = "KV_REVOKED";

export const revokedFilter = "$KV.REVOKED.>";

export const revokedRepublish = { src: revokedFilter, dest: "live.revoked.>" } as const;

/** A user's platform's key in the REVOKED bucket. */
export function revokedKey(user: string, platformId: number): string {
  return `${user}.${platformId}`;
}
