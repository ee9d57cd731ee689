import { expect, onTestFinished, test, vi } from "vitest";
import { startOwn } from "../../src/verify/own/start.ts";
import { verify } from "../../src/verify/verify.ts";

/** An instance that ends by itself once it has listened for a while. */
const ending = ["--import", "data:text/javascript,setTimeout(() => process.exit(3), 5_000)"];

test("an instance that ends by itself is a violation", async () => {
  const deployment = await startOwn({ instances: 1, workers: 1, brokers: 1, hasDisk: false, nodeOptions: ending });
  onTestFinished(deployment.stop);
  await vi.waitFor(() => expect(deployment.ownFaults()).toEqual(["instance 0 ended by itself: exit code 3"]));
  const nothing = { writers: 0, users: 0, groups: 0, maxPauseMs: 100 };
  const verdict = await verify({ ...nothing, deployment, seed: 1, seconds: 1, roundSeconds: 1, say: () => {} });
  expect(verdict.violations).toEqual(["round 1: instance 0 ended by itself: exit code 3"]);
});
