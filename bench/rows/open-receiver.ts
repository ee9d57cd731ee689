import { account, interleave, type Outcome } from "../passes.ts";
import type { Findings, Row } from "../row.ts";

/** Opening a session of a device for which nothing waits, up to its first event. */
export const openReceiver: Row = {
  name: "open-receiver",
  title: "opening a receiver, nothing waiting",

  async run(bench): Promise<Findings> {
    const service = await bench.launch.service();
    const { address } = service;
    const users = { prefix: "user", count: bench.quick ? 500 : 2_000 };
    const name = "opened";
    const open = (perConnection: number) => async () => {
      const args = { name, address, users, perConnection, device: "phone", parallel: 64 };
      const pass = await account(service, async () => {
        const opened = await bench.load.run<Omit<Outcome, "calls">>("open-receivers", args);
        return { ...opened, calls: users.count };
      });
      await bench.load.run("close-receivers", { name });
      return pass;
    };
    const figures = await interleave(bench, [
      { side: "Mustreach", load: "100 a connection, 64 at a time", durability: "none", pass: open(100) },
      { side: "Mustreach", load: "a connection each, 64 at a time", durability: "none", pass: open(1) },
    ]);
    await service.stop();
    const [{ best }] = figures;
    const line = { unit: "µs of CPU", floorIs: "", targets: [{ is: "at most", value: 120, of: "figure" }] } as const;
    return {
      figures,
      lines: [
        { what: "opening a receiver, of the service", ours: best.serverUs, durability: "none", ...line },
        { what: "opening a receiver, of the broker", ours: best.brokerUs ?? Number.NaN, durability: "none", ...line },
      ],
    };
  },
};
