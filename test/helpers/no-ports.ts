import { ChildProcess } from "node:child_process";
import { Server, Socket } from "node:net";
import { afterAll, vi } from "vitest";

/** What Node does not document of it. */
interface Spawning {
  spawn(): number;
}

/** A `unit` test that opens a port or starts a process belongs into another tier (vitest.config.ts): here it fails. */
const refuse = (what: string) => () => {
  throw new Error(`a unit test ${what}`);
};

const refused = [
  vi.spyOn(Server.prototype, "listen").mockImplementation(refuse("opens a port")),
  vi.spyOn(Socket.prototype, "connect").mockImplementation(refuse("connects to a port")),
  vi.spyOn(ChildProcess.prototype as unknown as Spawning, "spawn").mockImplementation(refuse("starts a process")),
];

afterAll(() => {
  for (const spy of refused) spy.mockRestore();
  // The next file has the same process.
  vi.useRealTimers();
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});
