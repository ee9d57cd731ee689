import { account, type Outcome } from "../passes.ts";
import type { Service } from "../processes.ts";
import type { Bench, Curve, Findings, Line, Pass, Row } from "../row.ts";
import { fillStore, seedInboxes } from "../seed.ts";
import { lowest } from "../verdict.ts";

/** How much is there when the costs are looked at. */
interface Stage {
  readonly retained: number;
  readonly receivers: number;
}

const full: readonly Stage[] = [
  { retained: 1_000, receivers: 100 },
  { retained: 10_000, receivers: 1_000 },
  { retained: 100_000, receivers: 3_000 },
  { retained: 1_000_000, receivers: 10_000 },
];
const quick: readonly Stage[] = [
  { retained: 1_000, receivers: 100 },
  { retained: 10_000, receivers: 300 },
  { retained: 100_000, receivers: 1_000 },
];

/** What is looked at: a send at level 2, and a receiver for which five wait. */
const operations = ["send at level 2", "reconnect with 5 waiting"] as const;
type Operation = (typeof operations)[number];
type Costs = Readonly<Record<Operation, Pass>>;

const total = ({ serverUs, brokerUs = 0 }: Pass): number => serverUs + brokerUs;

/** What a send and a reconnect cost while the store and the number of receivers grow. */
export const growth: Row = {
  name: "growth",
  title: "cost while the store grows",

  async run(bench): Promise<Findings> {
    const service = await bench.launch.service();
    const { address } = service;
    const returning = { prefix: "returning", count: 200 };
    await seedInboxes(bench.load, address, returning, returning.count * 5);
    // What nobody has run yet is slow for a while.
    for (let n = 0; n < 3; n++) await look(bench, service, returning);
    const stages = bench.quick ? quick : full;
    const found: (Stage & { readonly costs: Costs })[] = [];
    let retained = 0;
    let receivers = 0;
    const pools: string[] = [];
    for (const stage of stages) {
      if (!(await fillStore(bench, address, stage.retained - retained))) {
        bench.say(`left out: ${stage.retained} retained, for which there was no time`);
        break;
      }
      retained = stage.retained;
      const users = { prefix: "idle", from: receivers, count: stage.receivers - receivers };
      const name = `idle-${receivers}`;
      const device = { device: "phone", perConnection: 100, parallel: 64 };
      await bench.load.run("open-receivers", { name, address, users, ...device });
      pools.push(name);
      receivers = stage.receivers;
      const all: Costs[] = [];
      for (let n = 0; n < bench.passes; n++) all.push(await look(bench, service, returning));
      const costs = Object.fromEntries(
        operations.map((operation) => [
          operation,
          lowest(
            all.map((one) => one[operation]),
            total,
          ),
        ]),
      ) as Costs;
      found.push({ ...stage, costs });
      bench.say(
        `${retained} retained, ${receivers} receivers: ${operations.map((name) => `${name} ${total(costs[name]).toFixed(0)} µs`).join(", ")}`,
      );
    }
    for (const name of pools) await bench.load.run("close-receivers", { name });
    await service.stop();

    const lines = operations.map((operation): Line => {
      const costs = found.map(({ costs }) => total(costs[operation]));
      const [first = Number.NaN] = costs;
      return {
        what: `${operation}, while the store grows to ${retained}`,
        unit: "× the first stage, at most",
        ours: Math.max(...costs) / first,
        floorIs: "",
        targets: [{ is: "at most", value: 1.3, of: "figure" }],
        durability: "FSYNCED",
        note: `${costs.map((cost) => cost.toFixed(0)).join(", ")} µs of CPU, the broker's included; up to ${receivers} receivers`,
      };
    });
    const curve: Curve = {
      title: "CPU of service and broker while the store grows",
      xLabel: "retained notifications",
      yLabel: "µs an operation",
      series: operations.map((name) => ({
        name,
        points: found.map(({ retained, costs }) => [retained, total(costs[name])] as const),
      })),
    };
    const figures = found.flatMap(({ retained, receivers, costs }) =>
      operations.map((name) => ({
        side: "Mustreach",
        load: `${name}, at ${retained} retained and ${receivers} receivers`,
        durability: "FSYNCED" as const,
        best: costs[name],
        passes: [costs[name]],
      })),
    );
    return { lines, figures, curves: [curve] };
  },
};

/** What the operations cost now. */
async function look(bench: Bench, service: Service, returning: { readonly count: number }): Promise<Costs> {
  const { address } = service;
  const pace = { inFlight: 64, calls: bench.quick ? 1_000 : 4_000 };
  const send = { address, connections: 8, to: { prefix: "new", count: 10_000 }, level: 2, pace };
  const sends = await account(service, () => bench.load.run<Outcome>("send", send));
  const name = "returning";
  const reconnects = await account(service, async () => {
    const device = { device: "phone", perConnection: 100, parallel: 64, await: 5 };
    const opened = await bench.load.run<Outcome>("open-receivers", { name, address, users: returning, ...device });
    return { ...opened, calls: returning.count };
  });
  await bench.load.run("close-receivers", { name });
  return { "send at level 2": sends, "reconnect with 5 waiting": reconnects };
}
