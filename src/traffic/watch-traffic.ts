import type { Cursors } from "../cursors/cursors.ts";
import type { PushMemory } from "../live/push-queue.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Traffic } from "./traffic.ts";

export interface Watched {
  readonly traffic: Traffic;
  /** The sessions. */
  readonly hub: { backlog(): number };
  readonly pushMemory: Pick<PushMemory, "bytes" | "taken" | "dropped">;
  readonly cursors: Pick<Cursors, "lag">;
}

/** Has the metrics tell of what goes to devices and comes back. */
export function watchTraffic({ watch, count }: Pick<Metrics, "watch" | "count">, watched: Watched): void {
  const { traffic, hub, pushMemory, cursors } = watched;
  watch("mustreach_sessions", "Sessions of devices now, by `door`.", () => traffic.sessions, { label: "door" });
  watch(
    "mustreach_backlog_notifications",
    "Stored notifications that devices with a session have not acknowledged, as of the last read of each: one for each device.",
    hub.backlog,
  );
  count(
    "mustreach_deliveries_total",
    "Notifications that devices were sent, by `level`: one for each device, and each time.",
    () => ({ 1: pushMemory.taken(), 2: traffic.stored }),
    { label: "level" },
  );
  count(
    "mustreach_redeliveries_total",
    "Those of level 2 that a device was sent again, since it had not acknowledged them when its last session here ended.",
    () => traffic.again,
  );
  count(
    "mustreach_reach_unmeasured_total",
    "First acknowledgements that are not in `mustreach_reach_duration_seconds`: too many users came back at once.",
    () => traffic.unmeasured,
  );
  watch("mustreach_waiting_push_bytes", "Online pushes that wait for devices, in bytes.", pushMemory.bytes);
  count("mustreach_push_drops_total", "Online pushes that a slow device lost, one for each.", pushMemory.dropped);
  watch(
    "mustreach_unstored_cursors",
    "Devices whose last acknowledgement is not stored yet.",
    () => cursors.lag().devices,
  );
  watch(
    "mustreach_cursor_lag_seconds",
    "How long the oldest acknowledgement that is not stored yet has waited.",
    () => {
      const { sinceMs } = cursors.lag();
      return sinceMs === undefined ? 0 : (performance.now() - sinceMs) / 1_000;
    },
    { ofAll: "max" },
  );
}
