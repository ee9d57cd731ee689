import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type Disk, mountDisk } from "../../../src/verify/disk/disk.ts";
import { startExternalBroker } from "../../helpers/external-broker.ts";

/** A broker on a disk whose power fails while lanes write to it, each one key: what each had acknowledged, and what is left. */
async function failPower(
  disk: Disk,
  { syncInterval, bytes, rounds }: { syncInterval: string; bytes: number; rounds: number },
) {
  const broker = await startExternalBroker({ syncInterval, storeDir: join(disk.dir, syncInterval) });
  onTestFinished(() => broker.remove());
  const lanes = Array.from({ length: 8 }, (_, lane) => `keys.${lane}`);
  const acknowledged = new Map<string, number>();
  const missing: string[] = [];
  let lost = 0;
  const nc = await broker.connect();
  // As cursors are stored: the newest of each key, so that what was before is compacted away.
  const stream = { name: "KEYS", subjects: ["keys.*"], max_msgs_per_subject: 1, storage: "file", allow_direct: true };
  await nc.request("$JS.API.STREAM.CREATE.KEYS", JSON.stringify(stream));
  for (let round = 0; round < rounds; round++) {
    const open = await broker.connect();
    let isOver = false;
    let writes = 0;
    const writing = lanes.map(async (subject) => {
      for (let next = (acknowledged.get(subject) ?? 0) + 1; !isOver; next++) {
        const answer = await open
          .request(subject, String(next).padEnd(bytes), { timeout: 2_000 })
          .catch(() => undefined);
        if (answer === undefined || answer.json<{ error?: object }>().error !== undefined) return;
        acknowledged.set(subject, next);
        writes++;
      }
    });
    while (writes < 200) await new Promise((resolve) => setImmediate(resolve));
    await broker.pause();
    isOver = true;
    await Promise.all(writing);
    lost += await disk.cut(round + 1);
    await broker.resume();
    const after = await broker.connect();
    for (const subject of lanes) {
      const found = await after
        .request(`$JS.API.DIRECT.GET.KEYS.${subject}`, "", { timeout: 5_000 })
        // The stream itself is gone.
        .catch(() => undefined);
      const stored = Number(found?.string());
      const promised = acknowledged.get(subject) ?? 0;
      if (!(stored >= promised))
        missing.push(`${subject}: ${promised} was acknowledged, ${stored || "nothing"} is there`);
      acknowledged.set(subject, stored || 0);
    }
  }
  return { lost, missing };
}

async function mount(skip: (why: string) => void): Promise<Disk | undefined> {
  const parent = await mkdtemp(join(tmpdir(), "mustreach-power-"));
  onTestFinished(() => rm(parent, { recursive: true }));
  try {
    const disk = await mountDisk(parent);
    onTestFinished(disk.remove);
    return disk;
  } catch {
    skip("no disk may be mounted here");
    return undefined;
  }
}

test("a broker that syncs each write loses nothing that it acknowledged when the power fails", async ({ skip }) => {
  const disk = await mount(skip);
  if (disk === undefined) return;
  const { missing } = await failPower(disk, { syncInterval: "always", bytes: 20_000, rounds: 2 });
  expect(missing).toEqual([]);
});

test("a broker that syncs now and then loses some, which shows", async ({ skip }) => {
  const disk = await mount(skip);
  if (disk === undefined) return;
  const { missing, lost } = await failPower(disk, { syncInterval: "2m", bytes: 200, rounds: 1 });
  expect(lost).toBeGreaterThan(100);
  expect(missing).not.toEqual([]);
});
