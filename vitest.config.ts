import { globSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { defineConfig } from "vitest/config";

/** What opens ports or starts processes when it is imported for its use, and inputs at random that take seconds. */
const needsMore =
  /^node:(?:child_process|cluster|http|http2|https|net|tls)$|^ws$|\/(?:src\/server|src\/testing\/index|http\/listener|embedded\/find|disk\/disk|helpers\/hpack-fuzz)\.ts$/;
const imports = /^(?:import|export) (?!type\b)[^;"]*?from "([^"]+)";/gm;

/** Whether a test, or a file of the tests' that it imports, needs more than the tier `unit` has. */
function reachesOut(path: string, seen = new Set<string>()): boolean {
  if (seen.has(path)) return false;
  seen.add(path);
  const specifiers = [...readFileSync(path, "utf8").matchAll(imports)].map(([, specifier = ""]) => specifier);
  return specifiers.some((specifier) => {
    const file = posix.join(posix.dirname(path), specifier);
    return (
      needsMore.test(specifier) || (specifier.startsWith(".") && file.startsWith("test/") && reachesOut(file, seen))
    );
  });
}

const files = globSync("test/**/*.test.ts").map((path) => path.replaceAll("\\", "/"));
const e2e = files.filter((path) => path.startsWith("test/e2e/"));
const ports = files.filter((path) => !e2e.includes(path) && reachesOut(path));
const unit = files.filter((path) => !e2e.includes(path) && !ports.includes(path));
const setupFiles = ["test/helpers/patience.ts"];

/**
 * The tiers: `unit` needs nothing and takes seconds, `ports` opens real ports, starts a broker or other processes, or
 * tries what is damaged at random; `e2e` uses the whole service.
 */
export default defineConfig({
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: unit,
          setupFiles: [...setupFiles, "test/helpers/no-ports.ts"],
          // One process for many files: to load the code anew for each would take longer than its tests.
          isolate: false,
        },
      },
      { extends: true, test: { name: "ports", include: ports, setupFiles } },
      { extends: true, test: { name: "e2e", include: e2e, setupFiles } },
    ],
    expect: { poll: { timeout: 60_000 } },
    // A busy machine is slow, and no test is about how fast it is.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // Each file starts a nats-server of its own: more workers than cores would only make them wait for each other.
    maxWorkers: 2,
  },
});
