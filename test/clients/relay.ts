import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

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
  }).listen(0, "127.0.0.1");
  await once(server, "listening");

  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
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
