import { setTimeout as delay } from "node:timers/promises";
import { inboxPartitionFilter, inboxStream } from "../../src/inbox/layout.ts";
import { openBareBroker } from "../bare-broker.ts";
import { drive } from "../drive.ts";
import { account, interleave, type Outcome, seconds } from "../passes.ts";
import type { Findings, Row } from "../row.ts";

/** Copies in a bare batch. */
const batchSize = 1_000;
/** How long the inboxes may take, in milliseconds. */
const patienceMs = 60_000;

/** A send at level 2 to a group until the last inbox holds it, beside bare atomic batches of as many copies. */
export const groupSend: Row = {
  name: "group-send",
  title: "send at level 2 to a large group",

  async run(bench): Promise<Findings> {
    const members = bench.quick ? 3_000 : 10_000;
    const service = await bench.launch.service();
    const { address } = service;
    const bare = await openBareBroker(service);
    await bench.load.run("create-group", { address, group: "crew", members: { prefix: "member", count: members - 1 } });
    const stream = inboxStream(0);

    const expandOne = async (): Promise<Outcome> => {
      const before = await bare.count(stream);
      const from = (await bare.lastSequence(stream)) + 1;
      const { seconds } = await drive({ inFlight: 1, calls: 1 }, async () => {
        const send = { address, connections: 1, to: { group: "crew" }, level: 2, pace: { inFlight: 1, calls: 1 } };
        const sent = await bench.load.run<Outcome>("send", send);
        if (sent.errors) throw new Error(sent.firstError);
        const deadline = performance.now() + patienceMs;
        while ((await bare.count(stream)) < before + members) {
          if (performance.now() > deadline)
            throw new Error(`${(await bare.count(stream)) - before} of ${members} are stored`);
          await delay(5);
        }
      });
      const read = await bare.readAll(stream, inboxPartitionFilter(0), from);
      if (read !== members) throw new Error(`${read} of ${members} inboxes hold it`);
      return { calls: members, seconds };
    };

    const figures = await interleave(bench, [
      {
        ...{ side: "Mustreach", load: `a group of ${members}`, durability: "FSYNCED", by: seconds },
        pass: () => account(service, expandOne),
      },
      {
        ...{ side: "bare atomic batches", load: `of ${batchSize}`, durability: "FSYNCED", by: seconds },
        pass: () => {
          const pace = { inFlight: 1, calls: members / batchSize };
          const write = () => drive(pace, () => bare.publishBatch(batchSize));
          return account({ pid: service.brokerPid }, write, batchSize);
        },
      },
    ]);
    await service.stop();
    const [ours, floor] = figures.map(({ best }) => best.operations / best.seconds);
    return {
      figures,
      lines: [
        {
          what: `send at level 2 to a group of ${members}, until the last inbox holds it`,
          unit: "inboxes a second",
          ours: ours ?? Number.NaN,
          floor,
          floorIs: "bare atomic batches of as many copies",
          targets: [{ is: "at least", value: 0.8, of: "floor" }],
          durability: "FSYNCED",
        },
      ],
    };
  },
};
