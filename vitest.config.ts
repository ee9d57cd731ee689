import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Each file starts a nats-server of its own: more workers than cores would only make them wait for each other.
    maxWorkers: 3,
  },
});
