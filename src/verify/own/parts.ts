import { setTimeout as delay } from "node:timers/promises";
import type { Disk } from "../disk/disk.ts";
import type { Random } from "../random.ts";
import type { Broker, Route } from "./brokers.ts";
import type { Clock } from "./clock.ts";
import type { OwnInstance } from "./instance.ts";
import type { Link } from "./link.ts";

/** What faults can be made of. */
export interface Breakable {
  readonly instances: readonly OwnInstance[];
  /** One, or the nodes of a cluster. */
  readonly brokers: readonly Broker[];
  /** The ways of the instances to the brokers. */
  readonly brokerLinks: readonly Link[];
  /** The ways of the nodes of a cluster to each other. */
  readonly routes: readonly Route[];
  /** Those of the instances. */
  readonly clocks: readonly Clock[];
  /** That of the only broker, if it has one of its own. */
  readonly disk: Disk | undefined;
  readonly hasWorkers: boolean;
}

/** Longest that something is away, in milliseconds. */
const maxAwayMs = 3_000;

/** Longest that something does not answer, and has not ended, in milliseconds: a heartbeat and more. */
const maxFrozenMs = 6_000;

/** Waits as long as something is away that has ended, which is drawn. */
export function away(random: Random): Promise<void> {
  return delay(random.between(0, maxAwayMs));
}

/** Waits as long as something is silent that has not ended, which is drawn. */
export function silent(random: Random): Promise<void> {
  return delay(random.between(500, maxFrozenMs));
}
