import { readResidentBytes } from "../accounting.ts";
import type { Bench, Findings, Line, Row } from "../row.ts";
import { lowest } from "../verdict.ts";

/** Two numbers of receivers on one server: the slope between them is what a receiver takes. */
interface Counts {
  readonly few: number;
  readonly many: number;
}

interface Taken {
  /** Resident memory a receiver, in KB; and heap. */
  readonly residentKb: number;
  readonly heapKb: number;
}

/** What a receiver takes that is connected and gets nothing. */
export const idleMemory: Row = {
  name: "idle-memory",
  title: "memory of an idle receiver",

  async run(bench): Promise<Findings> {
    const own: Counts = bench.quick ? { few: 500, many: 2_000 } : { few: 1_000, many: 5_000 };
    const shared: Counts = bench.quick ? { few: 1_000, many: 4_000 } : { few: 2_000, many: 10_000 };
    const turns = Array.from({ length: bench.quick ? 1 : 2 });
    const taken: { ours: Taken; shared: Taken; raw: Taken }[] = [];
    for (const _ of turns) {
      const turn = {
        ours: await measureService(bench, own, 1),
        shared: await measureService(bench, shared, 100),
        raw: await measureRaw(bench, own),
      };
      bench.say(JSON.stringify(turn));
      taken.push(turn);
    }
    const best = (of: keyof (typeof taken)[number]) =>
      lowest(
        taken.map((turn) => turn[of]),
        ({ residentKb }) => residentKb,
      );
    const toLine = (
      what: string,
      { residentKb, heapKb }: Taken,
      most: Pick<Line, "targets">,
      floor?: number,
    ): Line => ({
      what: `memory of an idle receiver, ${what}, its session included`,
      unit: "KB resident",
      ours: residentKb,
      floor,
      floorIs: "a socket of node:net",
      ...most,
      durability: "none",
      note: `${heapKb.toFixed(1)} KB of it in the heap and its buffers`,
    });
    const raw = best("raw").residentKb;
    return {
      figures: [],
      lines: [
        toLine("a connection each", best("ours"), { targets: [{ is: "at most", value: raw + 8, of: "figure" }] }, raw),
        toLine("100 a connection", best("shared"), { targets: [{ is: "at most", value: 3, of: "figure" }] }),
      ],
    };
  },
};

async function measureService(bench: Bench, counts: Counts, perConnection: number): Promise<Taken> {
  const service = await bench.launch.service({ isMetered: true });
  const open = async (from: number, count: number) => {
    const users = { prefix: "user", from, count };
    const name = `idle-${from}`;
    const { address } = service;
    await bench.load.run("open-receivers", { name, address, users, perConnection, device: "phone", parallel: 64 });
  };
  const taken = await slope(service, counts, open);
  await bench.load.run("close-receivers", { name: "idle-0" });
  await bench.load.run("close-receivers", { name: `idle-${counts.few}` });
  await service.stop();
  return taken;
}

async function measureRaw(bench: Bench, counts: Counts): Promise<Taken> {
  const server = await bench.launch.floor("raw-sockets");
  const open = (from: number, count: number) =>
    bench.load.run<void>("open-raw", { name: `idle-${from}`, address: server.address, count, bytes: 1 });
  const taken = await slope(server, counts, open);
  await bench.load.run("close-raw", { name: "idle-0" });
  await bench.load.run("close-raw", { name: `idle-${counts.few}` });
  await server.stop();
  return taken;
}

/** Opens a few, then the others, and says what each of the others takes. */
async function slope(
  server: { readonly pid: number; collect(): Promise<number> },
  { few, many }: Counts,
  open: (from: number, count: number) => Promise<void>,
): Promise<Taken> {
  const read = async () => ({ heap: await server.collect(), resident: readResidentBytes(server.pid) });
  await open(0, few);
  const before = await read();
  await open(few, many - few);
  const after = await read();
  const each = (bytes: number) => bytes / (many - few) / 1_024;
  return { residentKb: each(after.resident - before.resident), heapKb: each(after.heap - before.heap) };
}
