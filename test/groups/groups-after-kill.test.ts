import { expect, test, vi } from "vitest";
import { useBroker } from "../helpers/broker.ts";
import { useGroups } from "../helpers/groups.ts";

const server = useBroker();
const open = useGroups(server);

test("a user who has left is no member again after the broker was killed", async () => {
  const groups = await open();
  await groups.open("team", ["alice", "bob"]);
  const reconnected = new Promise<void>((resolve) => groups.broker.onReconnect(resolve));
  await groups.remove("team", ["alice"]);
  // Longer than the shortest TTL of the broker: what says that she has left must outlive it.
  const leftAtMs = Date.now();
  await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(leftAtMs + 2_000));
  process.kill(server.pid(), "SIGKILL");
  await reconnected;
  expect(await groups.joinedIds("alice")).toEqual([]);
  expect(await groups.joinedIds("bob")).toEqual(["team"]);
});
