/** Which devices of a user a notification is for: at most one of the two is not empty. */
export interface Addressing {
  /** Only this one. */
  readonly recvDeviceId: string;
  /** All but this one. */
  readonly exceptDeviceId: string;
}

/** The header in which a stored notification, and an online push, says it: `only=<device>` or `except=<device>`, URI-encoded. */
export const devicesHeader = "Mustreach-Devices";

/** Whether something is for a device; without an addressing it is for all. */
export function isFor(addressing: Addressing | undefined, deviceId: string): boolean {
  if (addressing === undefined) return true;
  const { recvDeviceId, exceptDeviceId } = addressing;
  return recvDeviceId === "" ? deviceId !== exceptDeviceId : deviceId === recvDeviceId;
}

/** An addressing as far as it leaves a device out; undefined when it is for all. */
export function toAddressing({ recvDeviceId, exceptDeviceId }: Addressing): Addressing | undefined {
  return recvDeviceId === "" && exceptDeviceId === "" ? undefined : { recvDeviceId, exceptDeviceId };
}

/** The value of the {@link devicesHeader}. */
export function writeAddressing({ recvDeviceId, exceptDeviceId }: Addressing): string {
  return recvDeviceId === "" ? except + encodeURIComponent(exceptDeviceId) : only + encodeURIComponent(recvDeviceId);
}

/** Reads the value of the {@link devicesHeader}; undefined for none. */
export function readAddressing(value: string): Addressing | undefined {
  if (value.startsWith(only)) return { recvDeviceId: decodeURIComponent(value.slice(only.length)), exceptDeviceId: "" };
  if (!value.startsWith(except)) return undefined;
  return { recvDeviceId: "", exceptDeviceId: decodeURIComponent(value.slice(except.length)) };
}

const only = "only=";
const except = "except=";
