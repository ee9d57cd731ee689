import { wrongField } from "./errors.ts";

/** The longest user id, in bytes of UTF-8. */
export const maxUserIdBytes = 1_024;

/** The longest group id, in bytes of UTF-8. */
export const maxGroupIdBytes = 1_024;

/** The longest `key` of a notification, in bytes of UTF-8. */
export const maxKeyBytes = 1_024;

/** The longest `clientMsgID`, in bytes of UTF-8. */
export const maxClientMsgIdBytes = 256;

/** The most users that one send names. */
export const maxRecvUserIds = 1_000;

/**
 * What the ids of the users that one send names add up to, in bytes of UTF-8. They are stored with the notification, in
 * the broker's usual max_payload of 1 MiB.
 */
export const maxRecvUserIdsBytes = 262_144;

/** The longest `collapseKey`, in bytes of UTF-8. */
export const maxCollapseKeyBytes = 256;

/** The longest device id, in bytes of UTF-8. */
export const maxDeviceIdBytes = 256;

/**
 * What is stored or published of a notification besides its `data`, at most, in bytes: ids, key and headers. It holds for
 * each form that it has on its way: in an inbox, as a chat copy, to a group, until its time, and for the webhook.
 */
export const maxOverheadBytes = 16_384;

// Cc is C0, DEL and C1. Cs with the flag u matches lone surrogates only: encoded as UTF-8 they all become U+FFFD, and
// two different ids would be one subject.
const unusable = /[\p{Cc}\p{Cs}]/u;

/** Whether `value` can be an id: 1 to `maxBytes` bytes of UTF-8 without control characters. */
export function isId(value: string, maxBytes: number): boolean {
  // A string never has fewer bytes than UTF-16 units; comparing those first spares counting the bytes of a huge one.
  if (value === "" || value.length > maxBytes) return false;
  return isPrintableAscii(value) || (Buffer.byteLength(value) <= maxBytes && !unusable.test(value));
}

/** Whether each character is one byte that can be seen, or a space: so are most ids, and this is found out sooner. */
function isPrintableAscii(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if (code < 0x20 || code > 0x7e) return false;
  }
  return true;
}

/**
 * Returns `value` if it {@link isId}.
 *
 * @param field the name of the id as the caller wrote it, such as `recvUserID`.
 * @throws ArgsError (1001), which does not repeat the value.
 */
export function requireId(value: string, field: string, maxBytes: number): string {
  if (!isId(value, maxBytes)) {
    const errDlt = `${field} must be 1 to ${maxBytes} bytes of UTF-8 without control characters`;
    throw wrongField(field, errDlt);
  }
  return value;
}
