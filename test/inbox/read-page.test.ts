import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { type DirectMessage, readsOver } from "../../src/broker/reads/direct-get.ts";
import { systemClock } from "../../src/clock.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { locateInbox } from "../../src/inbox/layout.ts";
import type { Lineage } from "../../src/inbox/lineage.ts";
import { type ReadDeps, readPage } from "../../src/inbox/read-page.ts";

const message = (sequence: number, data: string): DirectMessage => ({
  subject: "inbox.0.YWxpY2U.1.x",
  sequence,
  payload: toBinary(NotificationSchema, create(NotificationSchema, { data })),
  timeMs: 1,
  header: () => "",
});

test("what is read one by one is of one store: when that is replaced meanwhile, it is read again at once", async () => {
  const before = [message(4, "kept"), message(5, "lost with the store")];
  const after = [message(4, "kept"), message(6, "of the store that is there now")];
  let lineage: Lineage = [{ id: "first", first: 1 }];
  let isReplaced = false;
  const get = readsOver(
    async (_stream, { seq = 0, next_by_subj: filter, batch }) => {
      const found = filter === undefined ? [] : (isReplaced ? after : before).filter(({ sequence }) => sequence >= seq);
      // It happens once all of the store before has been read but its end.
      if (seq === 5) isReplaced = true;
      const messages = batch === undefined ? found.slice(0, 1) : found;
      return { messages, pending: 0, upToSequence: 6 };
    },
    () => {},
  );
  const nothing = async () => {};
  const epochs: Pick<ReadDeps["epochs"], "refresh" | "look" | "know" | "lineage" | "learn" | "placeOf" | "saw"> = {
    async refresh() {
      if (isReplaced && lineage.length === 1) lineage = [...lineage, { id: "second", first: 5 }];
    },
    ...{ look: nothing, know: nothing, lineage: () => lineage, learn() {}, saw() {} },
    placeOf: (_partition, { sequence }) => sequence,
  };
  const deps = { get, epochs: epochs as ReadDeps["epochs"], clock: systemClock };
  const page = await readPage(deps, locateInbox("alice", 1), { after: 0, limit: 16, way: "next" });
  expect(page.entries.map(({ sequence, epoch }) => [sequence, epoch])).toEqual([
    [4, "first"],
    [6, "second"],
  ]);
  expect(page).toMatchObject({ throughSequence: 6, pending: 0, isStoreChanged: false });
});
