import { account, interleave, type Outcome, p50, type Side } from "../passes.ts";
import type { Findings, Row } from "../row.ts";

/** Calls in flight over the connections, where the load is as much as it takes. */
const load = { connections: 8, inFlight: 64 };
/** Calls a second where it is not. */
const rate = 500;
const to = { prefix: "user", count: 1_000 };

/** A send at level 1 over gRPC, beside servers that echo. */
export const grpcSend: Row = {
  name: "grpc-send",
  title: "gRPC send, level 1",

  async run(bench): Promise<Findings> {
    const service = await bench.launch.service();
    const grpcJs = await bench.launch.floor("grpc-js-echo");
    const echoPath = bench.peers.get("echo");
    const echo = echoPath === undefined ? undefined : await bench.launch.program(echoPath);

    const sidesOf = (side: string, server: { readonly pid: number; readonly address: string; brokerPid?: number }) => {
      const send = (pace: object) => () =>
        account(server, () =>
          bench.load.run<Outcome>("send", { address: server.address, ...load, to, level: 1, pace }),
        );
      const full = send({ inFlight: load.inFlight, seconds: bench.quick ? 0.5 : 2 });
      const paced = send({ rate, seconds: bench.quick ? 0.5 : 2 });
      return [
        { side, load: `${load.inFlight} in flight`, durability: "none", pass: full },
        { side, load: `${rate}/s, open loop`, durability: "none", by: p50, pass: paced },
      ] as const satisfies Side[];
    };

    const figures = await interleave(bench, [
      ...sidesOf("Mustreach", service),
      ...sidesOf("grpc-js echo", grpcJs),
      ...(echo === undefined ? [] : sidesOf("grpc-go echo", echo)),
    ]);
    await Promise.all([service.stop(), grpcJs.stop(), echo?.stop()]);
    const [ours, , , , floor] = figures;
    return { figures, lines: [toLine(ours?.best.serverUs, floor?.best.serverUs)] };
  },
};

function toLine(ours = Number.NaN, floor: number | undefined) {
  return {
    what: "gRPC send, level 1: validated, authorised, published to NATS",
    unit: "µs of CPU a call",
    ours,
    floor,
    floorIs: "a grpc-go server's echo",
    targets: [{ is: "at most", value: 1.5, of: "floor" }],
    durability: "none",
  } as const;
}
