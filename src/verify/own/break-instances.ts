import type { Fault } from "../deployment.ts";
import type { Random } from "../random.ts";
import type { OwnInstance } from "./instance.ts";
import { away, type Breakable, silent } from "./parts.ts";

/** What can happen to instances of the service. */
export function instanceFaults({ instances, hasWorkers }: Breakable): Fault[] {
  const ofOne = (name: string, happen: (instance: OwnInstance, random: Random) => Promise<void>): Fault => ({
    name,
    hits: ["instances"],
    happen: (random) => happen(random.pick(instances), random),
  });
  return [
    ofOne("kill an instance", async (instance, random) => {
      await instance.end("SIGKILL");
      await away(random);
      await instance.start();
    }),
    ofOne("stop and start an instance", async (instance) => {
      await instance.end("SIGTERM");
      await instance.start();
    }),
    ofOne("freeze an instance", async (instance, random) => {
      instance.freeze();
      await silent(random);
      instance.thaw();
    }),
    {
      name: "restart all instances, one after the other",
      hits: ["instances"],
      async happen() {
        for (const instance of instances) {
          await instance.end("SIGTERM");
          await instance.start();
        }
      },
    },
    ...(hasWorkers
      ? [
          ofOne("kill a worker", (instance) => instance.killWorker()),
          ofOne("freeze a worker", async (instance, random) => {
            const thaw = await instance.freezeWorker();
            await silent(random);
            thaw();
          }),
        ]
      : []),
  ];
}
