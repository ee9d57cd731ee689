import { lookup } from "node:dns/promises";
import net from "node:net";
import { getSystemErrorName } from "node:util";

/** A port that is taken, on which whoever has the descriptor can listen and accept. */
export interface SharedPort {
  readonly fd: number;
  close(): void;
}

/** Node's own handle of a socket, as far as it is needed. */
interface Handle {
  readonly fd: number;
  getsockname(out: object): number;
  close(): void;
}

/**
 * Takes a port without accepting on it. The socket is there as long as any process has it open: connections wait in its
 * queue while there is no worker to take them, and none is refused while workers come and go.
 *
 * @throws the system's error, such as EADDRINUSE.
 */
export async function openSharedPort({ host, port }: { host: string; port: number }): Promise<SharedPort> {
  const { address, family } = await lookup(host);
  const handle = createHandle(address, port, family);
  const bound: { port?: number } = {};
  const unnamed = typeof handle === "number" ? handle : handle.getsockname(bound);
  // libuv keeps the error of a bind that fails with EADDRINUSE for its own listen. Whoever listens by the descriptor
  // does not get it, and would be given another port.
  const isTaken = unnamed === 0 && port !== 0 && bound.port !== port;
  if (typeof handle === "number" || unnamed !== 0 || isTaken) {
    if (typeof handle !== "number") handle.close();
    throw toError(isTaken ? "EADDRINUSE" : getSystemErrorName(unnamed), `${address}:${port}`);
  }
  return { fd: handle.fd, close: () => handle.close() };
}

/**
 * A bound socket, or the system's error number. By what node:cluster makes its shared handles with: nothing that is
 * documented opens a port without accepting on it, and node:cluster closes it when the last worker dies.
 */
function createHandle(address: string, port: number, family: number): Handle | number {
  const create: unknown = Reflect.get(net, "_createServerHandle");
  if (typeof create !== "function") throw new Error("this version of Node.js cannot share a port between processes");
  const handle: unknown = create(address, port, family, -1, 0);
  if (typeof handle === "number" || isHandle(handle)) return handle;
  throw new Error("this version of Node.js cannot share a port between processes");
}

function isHandle(value: unknown): value is Handle {
  return typeof value === "object" && value !== null && "fd" in value && "getsockname" in value && "close" in value;
}

function toError(code: string, at: string): Error {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: "address already in use",
    EACCES: "permission denied",
  };
  return Object.assign(new Error(`listen ${code}: ${reasons[code] ?? "cannot listen"} ${at}`), { code });
}
