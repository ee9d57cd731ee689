import { account, interleave, maxPassSeconds, type Outcome, p50, type Side } from "../passes.ts";
import type { Findings, Row } from "../row.ts";

/** Connections, each with one request at a time. */
const connections = 64;
/** Requests a second where the load is not as much as it takes. */
const rate = 500;

/** A send at level 1 over REST, beside JSON over bare node:http. */
export const restSend: Row = {
  name: "rest-send",
  title: "REST send, level 1",

  async run(bench): Promise<Findings> {
    const service = await bench.launch.service();
    const echo = await bench.launch.floor("http-echo");

    const calls = bench.quick ? 3_000 : 10_000;
    const sidesOf = (side: string, server: { readonly pid: number; readonly address: string; brokerPid?: number }) => {
      const request = { path: "/msg/send_business_notification", connections, to: { prefix: "user", count: 1_000 } };
      const send = (pace: object) => () =>
        account(server, () =>
          bench.load.run<Outcome>("send-rest", { address: server.address, ...request, level: 1, pace }),
        );
      const full = send({ inFlight: connections, calls, seconds: maxPassSeconds });
      const paced = send({ rate, seconds: bench.quick ? 0.5 : 2 });
      return [
        { side, load: `${connections} in flight`, durability: "none", pass: full },
        { side, load: `${rate}/s, open loop`, durability: "none", by: p50, pass: paced },
      ] as const satisfies Side[];
    };

    const figures = await interleave(bench, [...sidesOf("Mustreach", service), ...sidesOf("node:http echo", echo)]);
    await Promise.all([service.stop(), echo.stop()]);
    const [ours, , floor] = figures;
    return {
      figures,
      lines: [
        {
          what: "REST send, level 1",
          unit: "µs of CPU a call",
          ours: ours?.best.serverUs ?? Number.NaN,
          floor: floor?.best.serverUs,
          floorIs: "JSON in and out over bare node:http",
          targets: [{ is: "at most", value: 2, of: "floor" }],
          durability: "none",
        },
      ],
    };
  },
};
