import { randomFillSync } from "node:crypto";

/**
 * Makes an id of 32 lower-case hex digits, OpenIM's documented form, that is ordered by time: the bytes of a UUIDv7
 * (RFC 9562) without its dashes.
 */
export function createId(timeMs: number): string {
  const bytes = randomFillSync(Buffer.allocUnsafe(16));
  bytes.writeUIntBE(timeMs, 0, 6);
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  return bytes.toString("hex");
}
