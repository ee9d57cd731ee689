import { globSync, readFileSync } from "node:fs";
import { defineConfig } from "vitest/config";

/** What a test imports that starts a broker, a service, or another process. */
const startsProcesses =
  /(?:helpers\/(?:broker|browser|cluster|device|escalation|external-broker|fake-broker|groups|process|server|tracking)|embedded\/find)\.ts"|"node:child_process"/;

const files = globSync("test/**/*.test.ts").map((path) => path.replaceAll("\\", "/"));
const e2e = files.filter((path) => path.startsWith("test/e2e/"));
const broker = files.filter((path) => !e2e.includes(path) && startsProcesses.test(readFileSync(path, "utf8")));
const unit = files.filter((path) => !e2e.includes(path) && !broker.includes(path));

/** One tier of tests: `unit` needs nothing and takes seconds, `broker` starts processes, `e2e` uses the whole service. */
const tier = (name: string, include: string[]) => ({ extends: true, test: { name, include } }) as const;

export default defineConfig({
  test: {
    projects: [tier("unit", unit), tier("broker", broker), tier("e2e", e2e)],
    setupFiles: ["test/helpers/patience.ts"],
    expect: { poll: { timeout: 60_000 } },
    // A busy machine is slow, and no test is about how fast it is.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // Each file starts a nats-server of its own: more workers than cores would only make them wait for each other.
    maxWorkers: 2,
  },
});
