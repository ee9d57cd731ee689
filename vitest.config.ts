import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Each file starts a nats-server of its own: more workers than cores would only make them wait for each other.
    maxWorkers: 3,
    // A machine that is shared with others can starve a broker for seconds: there, what fails twice has failed.
    retry: process.env.CI ? 1 : 0,
  },
});
