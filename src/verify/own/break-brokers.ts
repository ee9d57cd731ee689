import { setTimeout as delay } from "node:timers/promises";
import type { Fault } from "../deployment.ts";
import type { Random } from "../random.ts";
import type { Broker } from "./brokers.ts";
import { away, type Breakable, silent } from "./parts.ts";

/** What can happen to a broker, or to a node of a cluster. */
export function brokerFaults({ brokers, instances }: Breakable): Fault[] {
  const ofOne = (name: string, happen: (broker: Broker, random: Random) => Promise<void>): Fault => ({
    name,
    hits: ["brokers"],
    happen: (random) => happen(random.pick(brokers), random),
  });
  return [
    ofOne("kill a broker", async (broker, random) => {
      await broker.kill();
      await away(random);
      await broker.start();
    }),
    ofOne("freeze a broker", async (broker, random) => {
      broker.freeze();
      await silent(random);
      broker.thaw();
    }),
    ofOne("a broker goes on with a copy of its store", async (broker, random) => {
      await broker.crashToCopy();
      await away(random);
      await broker.start();
    }),
    {
      // What was answered while the broker was away would be lost with the instance.
      name: "kill a broker, then an instance",
      hits: ["brokers", "instances"],
      async happen(random) {
        const [broker, instance] = [random.pick(brokers), random.pick(instances)];
        await broker.kill();
        await delay(random.between(0, 800));
        await instance.end("SIGKILL");
        await away(random);
        await Promise.all([broker.start(), instance.start()]);
      },
    },
  ];
}
