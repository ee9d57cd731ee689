import { payloadBytes } from "../floors/push-frame.ts";
import { attachGenerator, startGenerator } from "../generator.ts";
import { account, interleave, type Outcome, type Side } from "../passes.ts";
import type { Findings, Pass, Row } from "../row.ts";
import { seedInboxes } from "../seed.ts";

/** What waits for each, and what it has had before. */
const waiting = 5;
const before = 1;

const total = ({ serverUs, brokerUs = 0 }: Pass): number => serverUs + brokerUs;

/** All devices reconnect at once, and each gets what it has missed; beside Centrifuge, which has it in memory. */
export const reconnect: Row = {
  name: "reconnect",
  title: "reconnect with 5 waiting",

  async run(bench): Promise<Findings> {
    const count = bench.quick ? 500 : 2_000;
    const service = await bench.launch.service();
    const { address } = service;
    const users = { prefix: "user", count };
    await seedInboxes(bench.load, address, users, (before + waiting) * count);
    const device = { name: "first", address, users, device: "phone", perConnection: 100, parallel: 64 };
    // Each device acknowledges the first, so that all have a cursor.
    await bench.load.run("open-receivers", { ...device, window: before, await: before, ackEvery: 1, maxAcks: before });
    await bench.load.run("close-receivers", { name: "first" });

    const ours: Side = {
      side: "Mustreach",
      load: `${count} at once, a connection each, from disk`,
      durability: "FSYNCED",
      by: total,
      async pass() {
        const args = { ...device, name: "again", perConnection: 1, parallel: 0, await: waiting };
        const pass = await account(service, async () => {
          const opened = await bench.load.run<Omit<Outcome, "calls">>("open-receivers", args);
          return { ...opened, calls: count };
        });
        await bench.load.run("close-receivers", { name: "again" });
        return pass;
      },
    };

    const path = bench.peers.get("centrifuge");
    const peer = path === undefined ? undefined : await openCentrifuge(path);
    const figures = await interleave(bench, peer === undefined ? [ours] : [ours, peer.side]);
    await peer?.stop();
    await service.stop();
    const [mine, theirs] = figures.map(({ best }) => total(best));
    return {
      figures,
      lines: [
        {
          what: `reconnect with ${waiting} waiting, ${count} at once`,
          unit: "µs of CPU, the broker's included",
          ours: mine ?? Number.NaN,
          floor: theirs,
          floorIs: "Centrifuge from memory, over WebSocket",
          targets: [{ is: "at most", value: 2, of: "floor" }],
          durability: "FSYNCED",
        },
      ],
    };

    async function openCentrifuge(path: string) {
      const server = await bench.launch.program(path, "serve");
      const control = attachGenerator(server.child);
      const epochs = await control.run<string[]>("seed", {
        channels: count,
        each: before + waiting,
        bytes: payloadBytes,
      });
      const clients = startGenerator(path, [], {});
      const args = { address: server.address, epochs, after: before, each: waiting, bytes: payloadBytes };
      const side: Side = {
        side: "Centrifuge",
        load: `${count} at once, a connection each, from memory`,
        durability: "none",
        pass: () => account(server, () => clients.run<Outcome>("reconnect", args)),
      };
      const stop = async () => {
        await clients.stop();
        await server.stop();
      };
      return { side, stop };
    }
  },
};
