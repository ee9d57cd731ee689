import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A way between two processes that can be disturbed, at an address that stays when what is behind it moves. */
export interface Link {
  readonly port: number;
  /** Where new connections lead. */
  aim(port: number): void;
  /** Ends all connections, as a reset; new ones are refused until {@link mend}. */
  cut(): void;
  /** Ends all connections, as a reset; new ones are taken. */
  reset(): void;
  /** Lets nothing through in either direction, and ends nothing: as when packets are dropped. */
  stall(): void;
  /** Lets everything through this much later, in milliseconds. */
  slow(ms: number): void;
  /** Lets everything through at once again. */
  mend(): void;
  close(): Promise<void>;
}

/** Opens a link on a free port of loopback. */
export async function openLink(target: number): Promise<Link> {
  let port = target;
  let delayMs = 0;
  let isStalled = false;
  let isCut = false;
  const sockets = new Set<Socket>();
  /** What waits until a stall is over. */
  const waiting: (() => void)[] = [];

  const forward = (from: Socket, to: Socket) => {
    const later = (act: () => void) => {
      if (isStalled) waiting.push(() => later(act));
      else if (delayMs > 0) setTimeout(act, delayMs);
      else act();
    };
    from.on("data", (chunk) => {
      // A reader that has got stuck makes the writer wait, through us.
      from.pause();
      later(() => {
        if (to.destroyed) return;
        if (to.write(chunk)) from.resume();
        else to.once("drain", () => from.resume());
      });
    });
    from.on("end", () => later(() => to.end()));
    from.on("error", () => {});
    from.on("close", () => {
      sockets.delete(from);
      later(() => to.destroy());
    });
  };

  const server = createServer({ allowHalfOpen: true }, (near) => {
    if (isCut) {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      sockets.add(socket);
    }
    forward(near, far);
    forward(far, near);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  const reset = () => {
    for (const socket of sockets) {
      // Node 24 does not close a socket for ever that is reset while it is being shut down.
      if (socket.writableEnded && !socket.writableFinished) socket.destroy();
      else socket.resetAndDestroy();
    }
  };
  return {
    port: (server.address() as AddressInfo).port,
    aim(next) {
      port = next;
    },
    cut() {
      isCut = true;
      reset();
    },
    reset,
    stall() {
      isStalled = true;
    },
    slow(ms) {
      delayMs = ms;
    },
    mend() {
      isCut = false;
      isStalled = false;
      delayMs = 0;
      for (const act of waiting.splice(0)) act();
    },
    async close() {
      isCut = true;
      reset();
      server.close();
      await once(server, "close");
    },
  };
}
