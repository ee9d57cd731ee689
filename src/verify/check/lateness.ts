import type { DeviceHistory, History } from "./history.ts";
import type { Finding } from "./inspect.ts";
import { owedTo } from "./owed.ts";

/** What a device with an open session is owed comes within this long where nothing is broken, in milliseconds. */
export const maxSilenceMs = 15_000;

/** A hint that is lost is no loss while somebody looks: an open session of a device that works brings what is owed. */
export function inspectLateness(history: History): Finding[] {
  return history.devices.flatMap((device) => inspectDevice(history, device));
}

function inspectDevice(history: History, device: DeviceHistory): Finding[] {
  const { marks } = history;
  return owedTo(history, device).flatMap(({ send, since, came = Number.POSITIVE_INFINITY }) => {
    const until = since + maxSilenceMs;
    if (came <= until) return [];
    const wasOpen = device.sessions.some(({ openedAt, endedAt }) => openedAt <= since && endedAt > until);
    const wasBroken = marks.some(({ at, until: mended }) => at < until && mended > since);
    if (!wasOpen || wasBroken) return [];
    const what = `an open session said nothing of it for ${maxSilenceMs / 1_000} s`;
    return [{ what, device, about: [send.data] }];
  });
}
