import { readResidentBytes } from "../accounting.ts";
import { payloadBytes, pushFrame } from "../floors/push-frame.ts";
import { account, interleave, type Outcome, type Side } from "../passes.ts";
import type { Server, Service } from "../processes.ts";
import type { Bench, Figure, Findings, Line, Row } from "../row.ts";

/** Those that are measured, and those before them, so that what a first receiver takes once is not theirs. */
const receivers = 3_000;
const before = 500;

const group = "crew";
const users = { prefix: "member", count: receivers };

/** The doors, by the generator's names; that of gRPC has rows of its own, and is here to compare. */
const names: Readonly<Record<string, string>> = {
  "": "gRPC",
  websocket: "WebSocket",
  sse: "server-sent events over HTTP/1.1",
  "openim-js": "OpenIM's JSON frames",
  "openim-go": "OpenIM's Go frames, gzipped",
};

/** What an idle receiver takes, in KB: resident, and of that in the heap and its buffers. */
interface Taken {
  readonly residentKb: number;
  readonly heapKb: number;
}

/** Receivers by each door, a connection each: what they take while nothing comes, and what a push to them costs. */
export const doors: Row = {
  name: "doors",
  title: `${receivers} idle receivers and one push, by each door`,

  async run(bench): Promise<Findings> {
    const raw = await bench.launch.floor("raw-sockets");
    const count = bench.quick ? 5 : 50;
    const openRaw = (name: string, receivers: number) =>
      bench.load.run("open-raw", { name, address: raw.address, count: receivers, bytes: pushFrame.length });
    await openRaw("few", before);
    const bare = await weigh(raw, () => openRaw("raw", receivers));
    await bench.load.run("close-raw", { name: "few" });
    const floor: Side = {
      ...{ side: "raw socket.write", load: "a connection each", durability: "none" },
      pass: () => account(raw, () => bench.load.run<Outcome>("push-raw", { name: "raw", count }), receivers),
    };
    const figures: Figure[] = [];
    const lines: Line[] = [];
    for (const [door, name] of Object.entries(names)) {
      const found = await measure(bench, { door, name, count, floor });
      const { taken } = found;
      bench.say(`${name}: ${taken.residentKb.toFixed(1)} KB an idle receiver, ${taken.heapKb.toFixed(1)} of it heap`);
      figures.push(...found.figures);
      const [ours, floorUs] = found.figures.map(({ best }) => best.serverUs);
      lines.push(
        {
          what: `memory of an idle receiver by ${name}, a connection each, its session included`,
          unit: "KB resident",
          ours: taken.residentKb,
          floor: bare.residentKb,
          floorIs: "a socket of node:net",
          targets: [],
          durability: "none",
          note: `${taken.heapKb.toFixed(1)} KB of it in the heap and its buffers`,
        },
        {
          what: `push of ${payloadBytes} bytes to ${receivers} receivers by ${name}, a connection each`,
          unit: "µs of CPU a receiver",
          ours: ours ?? Number.NaN,
          floor: floorUs,
          floorIs: `socket.write of what it is in gRPC, ${pushFrame.length} bytes, a connection each`,
          targets: [],
          durability: "none",
        },
      );
    }
    await bench.load.run("close-raw", { name: "raw" });
    await bench.launch.stopAll();
    return { figures, lines };
  },
};

interface Measured {
  readonly door: string;
  readonly name: string;
  /** Pushes in a pass. */
  readonly count: number;
  readonly floor: Side;
}

/** A service of its own, with receivers by one door. */
async function measure(bench: Bench, { door, name, count, floor }: Measured) {
  const service = await bench.launch.service({ isMetered: true });
  const { address } = service;
  await bench.load.run("create-group", { address, group, members: users });
  const send = { address, to: { group }, level: 1 };
  const open = async (pool: string, of: object) => {
    const args = { name: pool, address, users: of, perConnection: 1, device: "phone", parallel: 64, door };
    await bench.load.run("open-receivers", args);
  };
  await open("few", { prefix: "early", count: before });
  const taken = await weigh(service, async () => {
    await open(name, users);
    // Not every door tells when the session is open.
    await bench.load.run("probe", { name, send });
  });
  let ordinal = 0;
  const ours: Side = {
    ...{ side: "Mustreach", load: `by ${name}, a connection each`, durability: "none" },
    pass() {
      // Numbered on, so that a receiver sees one that is missing or comes twice.
      const numbered = { ...send, ordinal };
      ordinal += count;
      return account(service, () => bench.load.run<Outcome>("push", { name, count, send: numbered }), receivers);
    },
  };
  const figures = await interleave(bench, [ours, floor]);
  await bench.load.run("close-receivers", { name });
  await bench.load.run("close-receivers", { name: "few" });
  await service.stop();
  return { taken, figures };
}

/** What each of the receivers takes that are opened. */
async function weigh(server: Pick<Server | Service, "pid" | "collect">, open: () => Promise<unknown>): Promise<Taken> {
  const read = async () => ({ heap: await server.collect(), resident: readResidentBytes(server.pid) });
  const few = await read();
  await open();
  const many = await read();
  const each = (bytes: number) => bytes / receivers / 1_024;
  return { residentKb: each(many.resident - few.resident), heapKb: each(many.heap - few.heap) };
}
