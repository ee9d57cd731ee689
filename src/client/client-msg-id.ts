/** Creates an idempotency key: a UUIDv7 (RFC 9562 5.7) as 32 lower-case hex digits, so that keys order by time. */
export function createClientMsgID(timeMs = Date.now()): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.floor(timeMs / 2 ** 16));
  view.setUint16(4, timeMs % 2 ** 16);
  view.setUint8(6, 0x70 | (view.getUint8(6) & 0x0f));
  view.setUint8(8, 0x80 | (view.getUint8(8) & 0x3f));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
