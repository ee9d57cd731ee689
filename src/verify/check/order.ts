import {
  acceptance,
  type Call,
  type DeviceHistory,
  type Finding,
  firstStart,
  type History,
  type Send,
  type SessionEvent,
} from "./history.ts";

/** All devices of a user see the same in the same place, and nothing in two. `places` collects it, by user. */
export function inspectPlaces(device: DeviceHistory, places: Map<string, Map<number, string>>): Finding[] {
  const findings: Finding[] = [];
  const ofUser = places.get(device.userId) ?? new Map<number, string>();
  places.set(device.userId, ofUser);
  const placeOf = new Map([...ofUser].map(([sequence, item]) => [item, sequence]));
  for (const event of device.sessions.flatMap(({ events }) => events)) {
    // What was settled after it had come is not in its place any more.
    if (!("data" in event) || event.kind === "push" || (event.kind === "settled" && event.wasSent)) continue;
    const { sequence, data } = event;
    const item = event.kind === "settled" ? `notification ${data}` : toItem(event);
    const there = ofUser.get(sequence);
    const first = placeOf.get(item);
    if (there === undefined && first === undefined) {
      ofUser.set(sequence, item);
      placeOf.set(item, sequence);
    } else if (there !== item) {
      const about = [data, ...(there === undefined ? [] : [there.replace(/^\S+ /, "")])];
      const what =
        first === undefined
          ? `sequence ${sequence} is a ${item} and a ${there}`
          : `the same ${event.kind} has the sequences ${first} and ${sequence}`;
      findings.push({ what, device, about });
    }
  }
  return findings;
}

/**
 * A send that was answered before another began comes before it, when it was to the user, or when both were to the
 * same group or list: a send to those is answered when it is queued. So does, of a batch, what comes before in it.
 */
export function inspectOrder(
  { sends, devices }: History,
  places: ReadonlyMap<string, ReadonlyMap<number, string>>,
): Finding[] {
  const findings: Finding[] = [];
  for (const [userId, ofUser] of places) {
    const device = devices.find((each) => each.userId === userId);
    /** Of what has a higher place: what was answered first, by recipient. */
    const earliest = new Map<string, { readonly until: number; readonly data: string }>();
    /** Of what has a higher place: what is first in its batch, by batch and recipient. */
    const foremost = new Map<string, { readonly index: number; readonly data: string }>();
    for (const [, item] of [...ofUser].sort(([a], [b]) => b - a)) {
      const send = item.startsWith("recall ") ? undefined : sends.get(item.replace(/^\S+ /, ""));
      if (send === undefined || device === undefined) continue;
      const to = nameRecipient(send);
      for (const recipient of new Set(["", to])) {
        const later = earliest.get(recipient);
        if (later !== undefined && later.until < firstStart(send)) {
          const what = "it comes before what was answered before it was sent";
          findings.push({ what, device, about: [send.data, later.data] });
        }
      }
      const until = acceptance(send)?.until;
      // What is sent for later is stored then.
      if (until !== undefined && send.dueAt === 0 && until < (earliest.get(to)?.until ?? Number.POSITIVE_INFINITY)) {
        earliest.set(to, { until, data: send.data });
      }
      const batch = batchOf(send);
      if (batch === undefined) continue;
      const place = `${batch.name} ${to}`;
      const after = foremost.get(place);
      if (after !== undefined && after.index < batch.index) {
        findings.push({ what: "it comes before what is before it in a batch", device, about: [send.data, after.data] });
      }
      if (after === undefined || batch.index < after.index)
        foremost.set(place, { index: batch.index, data: send.data });
    }
  }
  return findings;
}

/** The batch that it was in, where that alone can have stored it, and at once. */
function batchOf({ attempts, sendMsg, dueAt }: Send): Call["batch"] {
  const [only, ...more] = attempts;
  return only?.outcome === "accepted" && more.length === 0 && !sendMsg && dueAt === 0 ? only.batch : undefined;
}

/** Empty for a user: the order is that of one user's inbox. */
function nameRecipient({ recvGroupId, recvUserIds }: Send): string {
  return recvUserIds.length === 0 ? recvGroupId : recvUserIds.join();
}

/** What an event brings, as a name. */
export function toItem(event: SessionEvent): string {
  return "data" in event ? `${event.kind} ${event.data}` : event.kind;
}
