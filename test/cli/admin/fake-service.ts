import { createServer } from "node:http";
import type { DescService } from "@bufbuild/protobuf";
import { ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import type { Command } from "commander";
import { onTestFinished, vi } from "vitest";
import { fromConnectError } from "../../../src/client/connect/error.ts";
import { listen } from "../../helpers/listen.ts";

/** Starts a service that answers as the test says, and resolves to its URL. It ends with the test. */
export async function startFakeService<S extends DescService>(
  service: S,
  implementation: Partial<ServiceImpl<S>>,
): Promise<string> {
  const server = createServer(connectNodeAdapter({ routes: (router) => void router.service(service, implementation) }));
  const port = await listen(server);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${port}`;
}

/**
 * Runs a command, and resolves to what it wrote on standard output.
 *
 * @throws an error of the service in the client's words, as main.ts does.
 */
export async function runCommand(command: Command, ...args: string[]): Promise<string> {
  let output = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    output += text;
    return true;
  });
  for (const each of [command, ...command.commands]) each.exitOverride().configureOutput({ writeErr: () => {} });
  try {
    await command.parseAsync(args, { from: "user" });
  } catch (thrown) {
    throw thrown instanceof ConnectError ? fromConnectError(thrown) : thrown;
  } finally {
    write.mockRestore();
  }
  return output;
}
