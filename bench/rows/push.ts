import { payloadBytes, pushFrame } from "../floors/push-frame.ts";
import { account, interleave, type Outcome } from "../passes.ts";
import type { Findings, Line, Row } from "../row.ts";

const receivers = 3_000;
const group = "crew";
const users = { prefix: "member", count: receivers };

/** An online push to a group whose members are all connected, beside as many writes of the same bytes to sockets. */
export const push: Row = {
  name: "push",
  title: `a push to ${receivers} receivers`,

  async run(bench): Promise<Findings> {
    const service = await bench.launch.service();
    const { address } = service;
    const raw = await bench.launch.floor("raw-sockets");
    await bench.load.run("create-group", { address, group, members: users });
    await bench.load.run("open-raw", { name: "raw", address: raw.address, count: receivers, bytes: pushFrame.length });
    const count = bench.quick ? 5 : 20;
    /** Pushes are numbered on, so that a receiver sees one that is missing or comes twice. */
    let ordinal = 0;

    const compare = async (perConnection: number, value: number) => {
      const name = `receivers-${perConnection}`;
      await bench.load.run("open-receivers", { name, address, users, perConnection, device: "phone", parallel: 128 });
      const load = perConnection === 1 ? "a connection each" : `${perConnection} a connection`;
      const ours = () => {
        const send = { address, to: { group }, level: 1, ordinal };
        ordinal += count;
        return account(service, () => bench.load.run<Outcome>("push", { name, count, send }), receivers);
      };
      const floor = () => account(raw, () => bench.load.run<Outcome>("push-raw", { name: "raw", count }), receivers);
      const figures = await interleave(bench, [
        { side: "Mustreach", load, durability: "none", pass: ours },
        { side: "raw socket.write", load: "a connection each", durability: "none", pass: floor },
      ]);
      await bench.load.run("close-receivers", { name });
      const [{ best }, { best: bare }] = figures;
      const line: Line = {
        what: `push of ${payloadBytes} bytes to ${receivers} receivers, ${load}`,
        unit: "µs of CPU a receiver",
        ours: best.serverUs,
        floor: bare.serverUs,
        floorIs: `socket.write of the same ${pushFrame.length} bytes, a connection each`,
        targets: [{ is: "at most", value, of: "floor" }],
        durability: "none",
      };
      return { figures, line };
    };

    const own = await compare(1, 1.5);
    const shared = await compare(100, 0.3);
    await bench.load.run("close-raw", { name: "raw" });
    await Promise.all([service.stop(), raw.stop()]);
    return { figures: [...own.figures, ...shared.figures], lines: [own.line, shared.line] };
  },
};
