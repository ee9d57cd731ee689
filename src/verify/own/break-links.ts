import type { Fault } from "../deployment.ts";
import type { Random } from "../random.ts";
import type { Link } from "./link.ts";
import { type Breakable, silent } from "./parts.ts";

/** What can happen between instances and brokers, and between instances and those who use them. */
export function linkFaults({ instances, brokerLinks }: Breakable): Fault[] {
  const clientLinks = instances.map(({ link }) => link);
  const disturbing =
    (hit: string, links: readonly Link[]) =>
    (name: string, disturb: (link: Link, random: Random) => void): Fault => ({
      name,
      hits: [hit],
      async happen(random) {
        const link = random.pick(links);
        disturb(link, random);
        await silent(random);
        link.mend();
      },
    });
  const toBroker = disturbing("ways to brokers", brokerLinks);
  const toClients = disturbing("ways to clients", clientLinks);
  return [
    toBroker("cut an instance off from a broker", (link) => link.cut()),
    toBroker("drop what an instance and a broker say", (link) => link.stall()),
    toBroker("slow down the way to a broker", (link, random) => link.slow(random.between(20, 300))),
    toClients("cut devices and callers off", (link) => link.cut()),
    toClients("drop what devices and callers say and hear", (link) => link.stall()),
    toClients("slow down the way of devices and callers", (link, random) => link.slow(random.between(20, 300))),
    {
      name: "all devices and callers lose their connections",
      hits: ["ways to clients"],
      async happen() {
        for (const link of clientLinks) link.reset();
      },
    },
  ];
}
