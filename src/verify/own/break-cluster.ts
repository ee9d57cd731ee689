import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { type Broker as Connection, connectBroker } from "../../broker/connect.ts";
import { stepDownSubject } from "../../broker/subjects.ts";
import type { Fault } from "../deployment.ts";
import type { Random } from "../random.ts";
import type { Broker } from "./brokers.ts";
import type { Link } from "./link.ts";
import { away, type Breakable, silent } from "./parts.ts";

/** How often a cluster is asked after a node has started, until it answers. */
const maxAsked = 20;

/** How long a cluster that is asked may take to answer, in milliseconds. */
const askTimeoutMs = 2_000;

/** What can happen to a cluster of brokers; nothing, where there is one broker. */
export function clusterFaults({ brokers, routes }: Breakable): Fault[] {
  if (brokers.length === 1) return [];
  const ofLeader = (name: string, happen: (leader: Broker, random: Random) => Promise<void>): Fault => ({
    name,
    hits: ["brokers"],
    happen: async (random) => happen((await findLeader(brokers)) ?? random.pick(brokers), random),
  });
  /** Disturbs some of the ways of the nodes to each other; all of the leader's leave it alone with its clients. */
  const ofRoutes = (
    name: string,
    choose: (random: Random) => Promise<readonly Link[]>,
    disturb: (link: Link, random: Random) => void,
  ): Fault => ({
    name,
    hits: ["routes"],
    async happen(random) {
      const links = await choose(random);
      for (const link of links) disturb(link, random);
      await silent(random);
      for (const link of links) link.mend();
    },
  });
  const one = async (random: Random) => [random.pick(routes).link];
  const ofTheLeader = async (random: Random) => {
    const leader = (await findLeader(brokers)) ?? random.pick(brokers);
    return routes.filter(({ between }) => between.includes(leader.name)).map(({ link }) => link);
  };
  const killTogether = async (killed: readonly Broker[], random: Random) => {
    await Promise.all(killed.map((broker) => broker.kill()));
    await away(random);
    await Promise.all(killed.map((broker) => broker.start()));
  };

  return [
    ofLeader("kill the leader of the busiest stream", async (leader, random) => {
      await leader.kill();
      await away(random);
      await leader.start();
    }),
    ofLeader("freeze the leader of the busiest stream", async (leader, random) => {
      leader.freeze();
      await silent(random);
      leader.thaw();
    }),
    {
      name: "the busiest stream changes its leader",
      hits: ["brokers"],
      happen: () => stepLeaderDown(brokers),
    },
    {
      name: "restart all nodes, one after the other",
      hits: ["brokers"],
      async happen() {
        for (const broker of brokers) {
          await broker.end();
          await broker.start();
          // As whoever restarts them waits until a node is ready.
          for (let asked = 0; asked < maxAsked && (await findLeader(brokers)) === undefined; asked++) await delay(500);
        }
      },
    },
    {
      name: "kill two nodes of three",
      hits: ["brokers"],
      happen: (random) => {
        const spared = random.pick(brokers);
        return killTogether(
          brokers.filter((broker) => broker !== spared),
          random,
        );
      },
    },
    { name: "kill all nodes", hits: ["brokers"], happen: (random) => killTogether(brokers, random) },
    ofRoutes("cut the leader off from the other nodes", ofTheLeader, (link) => link.cut()),
    ofRoutes("drop what the leader and the other nodes say", ofTheLeader, (link) => link.stall()),
    ofRoutes("cut two nodes off from each other", one, (link) => link.cut()),
    ofRoutes("drop what two nodes say to each other", one, (link) => link.stall()),
    ofRoutes("slow down the way between two nodes", one, (link, random) => link.slow(random.between(20, 300))),
  ];
}

/** The node that leads the stream in which most was stored, as the cluster says; undefined when it does not answer. */
function findLeader(nodes: readonly Broker[]): Promise<Broker | undefined> {
  return ask(nodes, async (connection) => {
    const busiest = await findBusiest(connection);
    const leader = busiest && (await connection.jsm.streams.info(busiest)).cluster?.leader;
    return nodes.find(({ serverName }) => serverName === leader);
  });
}

/** Has the stream in which most was stored choose another leader, if the cluster answers. */
async function stepLeaderDown(nodes: readonly Broker[]): Promise<void> {
  await ask(nodes, async (connection) => {
    const busiest = await findBusiest(connection);
    if (busiest !== undefined) await connection.nc.request(stepDownSubject(busiest), "", { timeout: askTimeoutMs });
  });
}

async function findBusiest({ jsm }: Connection): Promise<string | undefined> {
  const streams = await jsm.streams.list().next();
  return streams.toSorted((a, b) => b.state.last_seq - a.state.last_seq)[0]?.config.name;
}

async function ask<T>(
  nodes: readonly Broker[],
  question: (connection: Connection) => Promise<T>,
): Promise<T | undefined> {
  const servers = nodes.map(({ port }) => `nats://127.0.0.1:${port}`);
  const log = pino({ level: "silent" });
  const connection = await connectBroker({ servers, requestTimeoutMs: askTimeoutMs, log }).catch(() => undefined);
  if (connection === undefined) return undefined;
  try {
    return await question(connection);
  } catch {
    return undefined;
  } finally {
    await connection.nc.close();
  }
}
