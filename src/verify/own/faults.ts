import { setTimeout as delay } from "node:timers/promises";
import type { Fault } from "../deployment.ts";
import type { Random } from "../random.ts";
import type { Broker } from "./brokers.ts";
import type { OwnInstance } from "./instance.ts";
import type { Link } from "./link.ts";

/** What faults can be made of. */
export interface Breakable {
  readonly instances: readonly OwnInstance[];
  readonly brokers: readonly Broker[];
  /** The ways of the instances to the brokers. */
  readonly brokerLinks: readonly Link[];
  readonly hasWorkers: boolean;
}

/** Longest that something is away, in milliseconds. */
const maxAwayMs = 3_000;

/** Longest that something does not answer, and has not ended, in milliseconds: a heartbeat and more. */
const maxFrozenMs = 6_000;

/** All that can happen, each for a while that is drawn when it happens. */
export function faultsOf({ instances, brokers, brokerLinks, hasWorkers }: Breakable): Fault[] {
  const away = (random: Random) => delay(random.between(0, maxAwayMs));
  const frozen = (random: Random) => delay(random.between(500, maxFrozenMs));
  const ofInstances = (name: string, happen: (instance: OwnInstance, random: Random) => Promise<void>): Fault => ({
    name,
    happen: (random) => happen(random.pick(instances), random),
  });
  const ofBrokers = (name: string, happen: (broker: Broker, random: Random) => Promise<void>): Fault => ({
    name,
    happen: (random) => happen(random.pick(brokers), random),
  });
  const ofLinks = (name: string, links: readonly Link[], disturb: (link: Link, random: Random) => void): Fault => ({
    name,
    async happen(random) {
      const link = random.pick(links);
      disturb(link, random);
      await frozen(random);
      link.mend();
    },
  });
  const clientLinks = instances.map(({ link }) => link);

  return [
    ofInstances("kill an instance", async (instance, random) => {
      await instance.end("SIGKILL");
      await away(random);
      await instance.start();
    }),
    ofInstances("stop and start an instance", async (instance) => {
      await instance.end("SIGTERM");
      await instance.start();
    }),
    ofInstances("freeze an instance", async (instance, random) => {
      instance.freeze();
      await frozen(random);
      instance.thaw();
    }),
    {
      name: "restart all instances, one after the other",
      async happen() {
        for (const instance of instances) {
          await instance.end("SIGTERM");
          await instance.start();
        }
      },
    },
    ofBrokers("kill a broker", async (broker, random) => {
      await broker.kill();
      await away(random);
      await broker.start();
    }),
    ofBrokers("freeze a broker", async (broker, random) => {
      broker.freeze();
      await frozen(random);
      broker.thaw();
    }),
    ofBrokers("a broker goes on with a copy of its store", async (broker, random) => {
      await broker.crashToCopy();
      await away(random);
      await broker.start();
    }),
    {
      // What was answered while the broker was away would be lost with the instance.
      name: "kill a broker, then an instance",
      async happen(random) {
        const [broker, instance] = [random.pick(brokers), random.pick(instances)];
        await broker.kill();
        await delay(random.between(0, 800));
        await instance.end("SIGKILL");
        await away(random);
        await Promise.all([broker.start(), instance.start()]);
      },
    },
    ofLinks("cut an instance off from a broker", brokerLinks, (link) => link.cut()),
    ofLinks("drop what an instance and a broker say", brokerLinks, (link) => link.stall()),
    ofLinks("slow down the way to a broker", brokerLinks, (link, random) => link.slow(random.between(20, 300))),
    ofLinks("cut devices and callers off", clientLinks, (link) => link.cut()),
    ofLinks("drop what devices and callers say and hear", clientLinks, (link) => link.stall()),
    ofLinks("slow down the way of devices and callers", clientLinks, (link, random) =>
      link.slow(random.between(20, 300)),
    ),
    {
      name: "all devices and callers lose their connections",
      async happen() {
        for (const { link } of instances) link.reset();
      },
    },
    ...(hasWorkers
      ? [
          ofInstances("kill a worker", (instance) => instance.killWorker()),
          ofInstances("freeze a worker", async (instance, random) => {
            const thaw = await instance.freezeWorker();
            await frozen(random);
            thaw();
          }),
        ]
      : []),
  ];
}
