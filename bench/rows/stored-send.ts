import { openBareBroker } from "../bare-broker.ts";
import { drive } from "../drive.ts";
import { account, interleave, maxPassSeconds, type Outcome, p50, type Side, seconds } from "../passes.ts";
import type { Figure, Findings, Line, Row } from "../row.ts";

/** A send at level 2, synced to disk before it is answered, beside bare acknowledged publishes to the same broker. */
export const storedSend: Row = {
  name: "stored-send",
  title: "send at level 2, synced",

  async run(bench): Promise<Findings> {
    const service = await bench.launch.service();
    const { address } = service;
    const bare = await openBareBroker(service);
    const to = { prefix: "user", count: 1_000 };

    const sidesOf = (inFlight: number) => {
      const load = `${inFlight} in flight`;
      const by = inFlight === 1 ? p50 : seconds;
      const calls = (inFlight === 1 ? 500 : 4_000) * (bench.quick ? 1 : 3);
      const pace = { inFlight, calls, seconds: maxPassSeconds };
      const send = { address, connections: Math.min(8, inFlight), to, level: 2, pace };
      return [
        {
          ...{ side: "Mustreach", load, durability: "FSYNCED", by },
          pass: () => account(service, () => bench.load.run<Outcome>("send", send)),
        },
        {
          ...{ side: "bare js.publish", load, durability: "FSYNCED", by },
          pass: () => account({ pid: service.brokerPid }, () => drive(pace, () => bare.publish())),
        },
      ] as const satisfies Side[];
    };

    const figures = await interleave(bench, [...sidesOf(1), ...sidesOf(64), ...sidesOf(256)]);
    await service.stop();
    const [one, bareOne, , , many, bareMany] = figures;
    return { figures, lines: [toLatencyLine(one, bareOne), toRateLine(many, bareMany)] };
  },
};

function toLatencyLine(ours: Figure | undefined, floor: Figure | undefined): Line {
  return {
    what: "send at level 2, one in flight",
    unit: "ms (p50)",
    ours: ours?.best.latencyMs?.p50 ?? Number.NaN,
    floor: floor?.best.latencyMs?.p50,
    floorIs: "one bare js.publish",
    targets: [{ is: "at most", value: 1.3, of: "floor" }],
    durability: "FSYNCED",
  };
}

function toRateLine(ours: Figure | undefined, floor: Figure | undefined): Line {
  const rate = (figure: Figure | undefined) => figure && figure.best.operations / figure.best.seconds;
  return {
    what: "send at level 2, 256 in flight",
    unit: "a second",
    ours: rate(ours) ?? Number.NaN,
    floor: rate(floor),
    floorIs: "bare js.publish, 256 in flight",
    targets: [{ is: "at least", value: 2.5, of: "floor" }],
    durability: "FSYNCED",
  };
}
