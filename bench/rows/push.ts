import { payloadBytes, pushFrame } from "../floors/push-frame.ts";
import { findMosquitto, startMosquitto } from "../mosquitto.ts";
import { account, interleave, type Outcome, type Side } from "../passes.ts";
import type { Bench, Findings, Line, Row } from "../row.ts";

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
    const count = bench.quick ? 10 : 50;
    const mosquitto = await openMosquitto(bench, count);
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
        ...(mosquitto !== undefined && perConnection === 1 ? [mosquitto] : []),
      ]);
      await bench.load.run("close-receivers", { name });
      const [best, bare] = figures.map((figure) => figure.best.serverUs);
      const line: Line = {
        what: `push of ${payloadBytes} bytes to ${receivers} receivers, ${load}`,
        unit: "µs of CPU a receiver",
        ours: best ?? Number.NaN,
        floor: bare,
        floorIs: `socket.write of the same ${pushFrame.length} bytes, a connection each`,
        targets: [{ is: "at most", value, of: "floor" }],
        durability: "none",
      };
      return { figures, line };
    };

    const own = await compare(1, 1.5);
    const shared = await compare(100, 0.3);
    await bench.load.run("close-raw", { name: "raw" });
    await bench.launch.stopAll();
    return { figures: [...own.figures, ...shared.figures], lines: [own.line, shared.line] };
  },
};

/** As many subscribers of a topic of Mosquitto, if the system has it. */
async function openMosquitto(bench: Bench, count: number): Promise<Side | undefined> {
  const path = findMosquitto();
  if (path === undefined) {
    bench.say("skipped  Mosquitto is not installed");
    return undefined;
  }
  const server = await startMosquitto(bench.launch, path);
  await bench.load.run("open-mqtt", { name: "mqtt", address: server.address, count: receivers });
  const pass = () => account(server, () => bench.load.run<Outcome>("push-mqtt", { name: "mqtt", count }), receivers);
  return { side: "Mosquitto, QoS 0", load: "a connection each", durability: "none", pass };
}
