import { acceptance, type DeviceHistory, type GroupHistory, membership, type Send } from "./history.ts";

/** Whether a send that was accepted between two moments is for a device: `sometimes` also when it is not known. */
export function isFor(
  groups: ReadonlyMap<string, GroupHistory>,
  send: Send,
  device: DeviceHistory,
  from: number,
  until: number,
): "always" | "sometimes" | "never" {
  const { recvUserId, recvUserIds, recvGroupId } = send;
  if (!isForDevice(send, device)) return "never";
  if (recvGroupId === "") return [recvUserId, ...recvUserIds].includes(device.userId) ? "always" : "never";
  const group = groups.get(recvGroupId);
  return group === undefined ? "never" : membership(group, device.userId, from, until);
}

/** Whether a send that was accepted is for a device for certain. */
export function isCertainlyFor(groups: ReadonlyMap<string, GroupHistory>, send: Send, device: DeviceHistory): boolean {
  const accepted = acceptance(send);
  return accepted !== undefined && isFor(groups, send, device, accepted.from, accepted.until) === "always";
}

/** A consumer at the broker gets what is for any device of its user. */
function isForDevice({ recvDeviceId, exceptDeviceId }: Send, { kind, deviceId }: DeviceHistory): boolean {
  if (kind === "native") return true;
  return (recvDeviceId === "" || recvDeviceId === deviceId) && exceptDeviceId !== deviceId;
}
