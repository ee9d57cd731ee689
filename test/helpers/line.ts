import { connect, createServer, type Socket } from "node:net";
import { listen } from "./listen.ts";

/** A TCP line that can be cut. */
export interface Line {
  readonly url: string;
  /** Cuts all connections and refuses new ones. */
  cut(): void;
  restore(): void;
  close(): void;
}

/** Opens a line to a local port. */
export async function openLine(port: number): Promise<Line> {
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer((near) => {
    if (isCut) {
      near.destroy();
      return;
    }
    const far = connect(port, "127.0.0.1");
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.pipe(other);
      one.on("error", () => {}).on("close", () => other.destroy());
    }
  });
  const ownPort = await listen(server);
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  return {
    url: `nats://127.0.0.1:${ownPort}`,
    cut,
    restore() {
      isCut = false;
    },
    close() {
      cut();
      server.close();
    },
  };
}
