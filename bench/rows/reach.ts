import { openBareBroker, storedBytes } from "../bare-broker.ts";
import { drive } from "../drive.ts";
import { account, interleave, type Outcome, p50 } from "../passes.ts";
import type { Findings, Latency, Row } from "../row.ts";

const rate = 500;

/** From a send at level 2 until its device has it, beside two hops over the broker with a stored publish in between. */
export const reach: Row = {
  name: "reach",
  title: "send at level 2 until the device has it",

  async run(bench): Promise<Findings> {
    const count = bench.quick ? 300 : 1_000;
    const service = await bench.launch.service();
    const { address } = service;
    const users = { prefix: "user", count };
    const name = "devices";
    const device = { device: "phone", perConnection: 1, parallel: 64, ackEvery: 1 };
    await bench.load.run("open-receivers", { name, address, users, ...device });
    const seconds = bench.quick ? 2 : 6;
    let ordinal = 0;

    const bare = await openBareBroker(service);
    const arrived: PromiseWithResolvers<void>[] = [];
    // First hop: to who stores it; second hop: to who waits for it.
    const store = async (id: string) => {
      await bare.publish();
      bare.nc.publish(`hop.second.${id}`, storedBytes);
    };
    bare.nc.subscribe("hop.first.*", { callback: (_, { subject }) => void store(subject.split(".")[2] ?? "") });
    bare.nc.subscribe("hop.second.*", {
      callback: (_, { subject }) => arrived[Number(subject.split(".")[2])]?.resolve(),
    });

    const load = `${rate}/s, open loop, ${count} devices`;
    const figures = await interleave(bench, [
      {
        ...{ side: "Mustreach, each acknowledged", load, durability: "FSYNCED", by: p50 },
        pass: () => {
          const send = { address, connections: 4, to: users, level: 2, ordinal, pace: { rate, seconds } };
          ordinal += rate * seconds;
          return account(service, async () => {
            const run = await bench.load.run<{ sends: Outcome; latencyMs: Latency }>("reach", { name, send });
            return { ...run.sends, latencyMs: run.latencyMs };
          });
        },
      },
      {
        ...{ side: "two hops and a js.publish", load: `${rate}/s, open loop`, durability: "FSYNCED", by: p50 },
        pass: () => {
          const calls = rate * seconds;
          return account({ pid: service.brokerPid }, () =>
            drive({ rate, calls }, (n) => {
              const arrival = Promise.withResolvers<void>();
              arrived[n] = arrival;
              bare.nc.publish(`hop.first.${n}`, storedBytes);
              return arrival.promise;
            }),
          );
        },
      },
    ]);
    await bench.load.run("close-receivers", { name });
    await service.stop();
    const [ours, floor] = figures.map(({ best }) => best.latencyMs);
    return {
      figures,
      lines: [
        {
          what: `send at level 2 until the device has it, ${load}`,
          unit: "ms (p50)",
          ours: ours?.p50 ?? Number.NaN,
          floor: floor?.p50,
          floorIs: "two core hops and an acknowledged publish",
          targets: [{ is: "at most", value: 2, of: "floor" }],
          durability: "FSYNCED",
          note: `p99 ${ours?.p99.toFixed(1)} ms, of the floor ${floor?.p99.toFixed(1)} ms`,
        },
      ],
    };
  },
};
