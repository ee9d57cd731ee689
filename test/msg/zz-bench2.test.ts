import { test } from "vitest";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { useBroker } from "../helpers/broker.ts";
const server = useBroker();
test("bench", async () => {
  const nc = await server.connect();
  const jsm = await jetstreamManager(nc); const js = jetstream(nc);
  const n = 600;
  for (const [order, erase] of [["asc", false], ["desc", false], ["asc", true], ["desc", true], ["purge", true], ["purge1", true]] as const) {
    const name = `S${order}${erase}`;
    await jsm.streams.add({ name, subjects: [`${name}.>`], allow_direct: true, allow_msg_ttl: true, allow_atomic: true, max_msgs_per_subject: 1, discard: "new", discard_new_per_subject: true } as never);
    const each = async (count: number, f: (i: number) => Promise<unknown>) => { let i = 0; await Promise.all(Array.from({ length: 32 }, async () => { while (i < count) await f(i++); })); };
    await each(300, (i) => js.publish(`${name}.before.${i}.x`, "x".repeat(200)));
    await each(n, (i) => js.publish(`${name}.u.${i}.id`, "x".repeat(200)));
    await each(300, (i) => js.publish(`${name}.after.${i}.x`, "x".repeat(200)));
    const b = performance.now();
    if (order === "purge") await jsm.streams.purge(name, { filter: `${name}.u.*.id` });
    else if (order === "purge1") await each(n, (i) => jsm.streams.purge(name, { filter: `${name}.u.${i}.id` }));
    else await each(n, (i) => jsm.streams.deleteMessage(name, 301 + (order === "asc" ? i : n - 1 - i), erase));
    process.stdout.write(`${order} erase=${erase}: ${(performance.now() - b) / n} ms each\n`);
  }
}, 600000);
