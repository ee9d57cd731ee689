import type { Duplex } from "node:stream";
import type { Frame } from "./http2-frames.ts";

/** Cuts what comes in into frames. */
export class FrameReader {
  private rest: Buffer = Buffer.alloc(0);

  read(bytes: Buffer): Frame[] {
    this.rest = Buffer.concat([this.rest, bytes]);
    const frames: Frame[] = [];
    let at = 0;
    while (at + 9 <= this.rest.length && at + 9 + this.rest.readUIntBE(at, 3) <= this.rest.length) {
      const end = at + 9 + this.rest.readUIntBE(at, 3);
      frames.push({
        type: this.rest.readUInt8(at + 3),
        flags: this.rest.readUInt8(at + 4),
        stream: this.rest.readUInt32BE(at + 5) & 0x7fff_ffff,
        payload: this.rest.subarray(at + 9, end),
      });
      at = end;
    }
    this.rest = this.rest.subarray(at);
    return frames;
  }
}

/** One side of a connection. */
export interface RawPeer {
  /** What has come, in order. */
  readonly frames: readonly Frame[];
  /** False when the other side does not read fast enough. */
  send(...bytes: readonly Uint8Array[]): boolean;
  /** The first frame that is as wanted, now or later; undefined when the connection has ended without it. */
  frame(isWanted: (frame: Frame) => boolean): Promise<Frame | undefined>;
  /** All frames until the connection has ended. */
  readonly closed: Promise<readonly Frame[]>;
  readonly isClosed: boolean;
}

/** @param skip bytes of a preface to come first. */
export function createRawPeer(socket: Duplex, skip = 0): RawPeer {
  const frames: Frame[] = [];
  const reader = new FrameReader();
  const waiting = new Set<() => void>();
  let isClosed = false;
  let toSkip = skip;
  const wake = () => {
    for (const look of [...waiting]) look();
  };
  socket.on("data", (bytes: Buffer) => {
    const skipped = Math.min(toSkip, bytes.length);
    toSkip -= skipped;
    frames.push(...reader.read(bytes.subarray(skipped)));
    wake();
  });
  // That the other side has cut the connection is what many tests are about.
  socket.on("error", () => undefined);
  const closed = new Promise<readonly Frame[]>((resolve) => {
    socket.once("close", () => {
      isClosed = true;
      wake();
      resolve(frames);
    });
  });
  return {
    frames,
    closed,
    get isClosed() {
      return isClosed;
    },
    send: (...bytes) => (socket.destroyed ? false : socket.write(Buffer.concat(bytes))),
    frame: (isWanted) =>
      new Promise((resolve) => {
        let seen = 0;
        const look = () => {
          const found = frames.slice(seen).find(isWanted);
          seen = frames.length;
          if (found === undefined && !isClosed) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
  };
}
