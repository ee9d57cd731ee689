import { account, interleave, maxPassSeconds, type Outcome, p50, type Side } from "../passes.ts";
import type { Figure, Findings, Line, Row } from "../row.ts";

/** Calls in flight over the connections, where the load is as much as it takes. */
const load = { connections: 8, inFlight: 64 };
/** Calls a second where it is not. */
const rate = 500;
const to = { prefix: "user", count: 1_000 };

interface Echo {
  readonly side: string;
  readonly server: { readonly pid: number; readonly address: string; readonly brokerPid?: number };
}

/** A send at level 1 over gRPC, beside servers that echo; and HTTP/2 alone, by both of its implementations. */
export const grpcSend: Row = {
  name: "grpc-send",
  title: "gRPC send, level 1",

  async run(bench): Promise<Findings> {
    const echoPath = bench.peers.get("echo");
    const grpcGo =
      echoPath === undefined ? [] : [{ side: "grpc-go echo", server: await bench.launch.program(echoPath) }];
    const echoes: readonly Echo[] = [
      { side: "Mustreach", server: await bench.launch.service() },
      ...grpcGo,
      { side: "grpc-js echo", server: await bench.launch.floor("grpc-js-echo") },
      { side: "echo on node:http2", server: await bench.launch.floor("http2-echo", "node") },
      { side: "echo on the HTTP/2 engine", server: await bench.launch.floor("http2-echo", "engine") },
    ];

    const calls = bench.quick ? 3_000 : 10_000;
    const send =
      ({ server }: Echo, pace: object) =>
      () => {
        const args = { address: server.address, ...load, to, level: 1, pace };
        return account(server, () => bench.load.run<Outcome>("send", args));
      };
    const sides = echoes.flatMap((echo): Side[] => [
      {
        ...{ side: echo.side, load: `${load.inFlight} in flight`, durability: "none" },
        pass: send(echo, { inFlight: load.inFlight, calls, seconds: maxPassSeconds }),
      },
      {
        ...{ side: echo.side, load: `${rate}/s, open loop`, durability: "none", by: p50 },
        pass: send(echo, { rate, seconds: bench.quick ? 0.5 : 2 }),
      },
    ]);
    const figures = await interleave(bench, sides);
    await bench.launch.stopAll();

    const cost = (side: string) => figures.find((figure) => figure.side === side)?.best.serverUs;
    const floor = cost("grpc-go echo");
    const line = { unit: "µs of CPU a call", floor, floorIs: "a grpc-go server's echo", durability: "none" } as const;
    const toLine = (what: string, side: string, value: number): Line => ({
      ...line,
      ...{ what, ours: cost(side) ?? Number.NaN, targets: [{ is: "at most", value, of: "floor" }] },
      ...noteOf(figures, side),
    });
    return {
      figures,
      lines: [
        toLine("gRPC send, level 1: validated, authorised, published to NATS", "Mustreach", 1.5),
        toLine("the HTTP/2 engine alone: an echo over gRPC", "echo on the HTTP/2 engine", 0.6),
      ],
    };
  },
};

function noteOf(figures: readonly Figure[], side: string): { note: string } {
  const latency = figures.findLast((figure) => figure.side === side)?.best.latencyMs;
  return { note: `at ${rate}/s p50 ${latency?.p50.toFixed(2)} ms, p99 ${latency?.p99.toFixed(2)} ms` };
}
