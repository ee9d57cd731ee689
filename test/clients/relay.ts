import { connect, createServer, type Socket } from "node:net";
import { listen } from "../helpers/listen.ts";

/** A TCP relay with an address of its own, which stays while what is behind it changes. */
export interface Relay {
  /** Host and port. */
  readonly address: string;
  /** Leads new connections to another port of this machine. */
  leadTo(port: number): void;
  /** Resets every connection. */
  cut(): void;
  close(): void;
}

export async function startRelay(): Promise<Relay> {
  let target = 0;
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(target, "127.0.0.1");
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.setNoDelay();
      socket.pipe(other);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  });
  const port = await listen(server);

  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    address: `127.0.0.1:${port}`,
    leadTo(port) {
      target = port;
    },
    cut,
    close() {
      server.close();
      cut();
    },
  };
}
