import type { StreamSpec } from "../broker/declare.ts";

/** The stream of the REVOKED bucket, all its entries, and where each is told to the instances that listen. */
export const revokedStream = "KV_REVOKED";

export const revokedFilter = "$KV.REVOKED.>";

export const revokedRepublish = { src: revokedFilter, dest: "live.revoked.>" } as const;

/** The revocations, kept for `maxAgeMs` milliseconds: longer than any token lives. */
export function authSpecs(maxAgeMs: number): readonly StreamSpec[] {
  return [
    {
      name: revokedStream,
      description: "up to which moment the tokens of a user and platform are revoked",
      subjects: [revokedFilter],
      refusesWhenFull: true,
      maxAgeMs,
      // Tokens that were minted to live longer are still about.
      isNeverShortened: true,
      republish: revokedRepublish,
    },
  ];
}

/** Up to when the tokens of a user's platform are revoked. */
export function revokedSubject(user: string, platformId: number): string {
  return `$KV.REVOKED.${user}.${platformId}`;
}
