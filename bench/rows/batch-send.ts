import { openBareBroker } from "../bare-broker.ts";
import { drive } from "../drive.ts";
import { account, interleave, type Outcome, seconds } from "../passes.ts";
import type { Findings, Row } from "../row.ts";

const size = 1_000;

/** Batches of sends at level 2, beside bare atomic batches of the same bytes. */
export const batchSend: Row = {
  name: "batch-send",
  title: `batch of ${size} sends at level 2`,

  async run(bench): Promise<Findings> {
    const service = await bench.launch.service();
    const { address } = service;
    const bare = await openBareBroker(service);
    const to = { prefix: "user", count: 1_000 };
    const calls = bench.quick ? 3 : 10;

    const load = `batches of ${size}, one at a time`;
    const figures = await interleave(bench, [
      {
        ...{ side: "Mustreach", load, durability: "FSYNCED", by: seconds },
        pass: () => {
          const send = { address, connections: 1, to, level: 2, batch: size, pace: { inFlight: 1, calls } };
          return account(service, () => bench.load.run<Outcome>("send", send), size);
        },
      },
      {
        ...{ side: "bare atomic batches", load, durability: "FSYNCED", by: seconds },
        pass: () =>
          account({ pid: service.brokerPid }, () => drive({ inFlight: 1, calls }, () => bare.publishBatch(size)), size),
      },
    ]);
    await service.stop();
    const [ours, floor] = figures.map(({ best }) => best.operations / best.seconds);
    return {
      figures,
      lines: [
        {
          what: `batches of ${size} sends at level 2`,
          unit: "sends a second",
          ours: ours ?? Number.NaN,
          floor,
          floorIs: "bare atomic batches of as many notifications",
          targets: [{ is: "at least", value: 0.5, of: "floor" }],
          durability: "FSYNCED",
        },
      ],
    };
  },
};
