import { toToken } from "../../src/broker/subjects.ts";
import { inboxFilter, inboxStream } from "../../src/inbox/layout.ts";
import { openBareBroker } from "../bare-broker.ts";
import { drive } from "../drive.ts";
import { account, interleave, type Outcome, seconds } from "../passes.ts";
import type { Findings, Row } from "../row.ts";
import { seedInboxes } from "../seed.ts";

/** One device drains what waits for it and acknowledges it, beside bare reads of the same from the broker. */
export const drain: Row = {
  name: "drain",
  title: "drain of what waits for one device",

  async run(bench): Promise<Findings> {
    const count = bench.quick ? 3_000 : 10_000;
    const service = await bench.launch.service();
    const { address } = service;
    const users = { prefix: "user", count: 1 };
    await seedInboxes(bench.load, address, users, count);
    const bare = await openBareBroker(service);
    const ackEvery = 50;
    let devices = 0;

    const figures = await interleave(bench, [
      {
        side: "Mustreach",
        load: `one device, ${ackEvery} an acknowledgement`,
        durability: "FSYNCED",
        by: seconds,
        pass: () => {
          // A new device begins at the oldest.
          const device = `device-${devices++}`;
          const args = { name: "drain", address, users, device, window: 1_000, ackEvery, await: count };
          return account(service, () => bench.load.run<Outcome>("drain", args));
        },
      },
      {
        side: "bare direct gets",
        load: "pages of 1,000",
        durability: "FSYNCED",
        by: seconds,
        pass: async () => {
          const filter = inboxFilter(0, toToken("user0"));
          return account({ pid: service.brokerPid }, async () => {
            const { seconds } = await drive({ inFlight: 1, calls: 1 }, async () => {
              const read = await bare.readAll(inboxStream(0), filter, 1);
              if (read !== count) throw new Error(`${read} of ${count} were read`);
            });
            return { calls: count, seconds };
          });
        },
      },
    ]);
    await service.stop();
    const [ours, floor] = figures.map(({ best }) => best.operations / best.seconds);
    return {
      figures,
      lines: [
        {
          what: `drain of ${count} waiting, acknowledged`,
          unit: "a second",
          ours: ours ?? Number.NaN,
          floor,
          floorIs: "bare direct gets of the same",
          targets: [
            { is: "at least", value: 0.5, of: "floor" },
            { is: "at least", value: 15_000, of: "figure" },
          ],
          durability: "FSYNCED",
        },
      ],
    };
  },
};
