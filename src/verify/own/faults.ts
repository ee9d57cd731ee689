import type { Fault } from "../deployment.ts";
import { clockFaults } from "./bad-clocks.ts";
import { diskFaults } from "./bad-disks.ts";
import { brokerFaults } from "./break-brokers.ts";
import { clusterFaults } from "./break-cluster.ts";
import { instanceFaults } from "./break-instances.ts";
import { linkFaults } from "./break-links.ts";
import type { Breakable } from "./parts.ts";

/** All that can happen, each for a while that is drawn when it happens: a family of faults a line. */
export function faultsOf(parts: Breakable): Fault[] {
  return [
    ...instanceFaults(parts),
    ...brokerFaults(parts),
    ...linkFaults(parts),
    ...clusterFaults(parts),
    ...clockFaults(parts),
    ...diskFaults(parts),
  ];
}
