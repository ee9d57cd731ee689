import { setImmediate as nextTurn } from "node:timers/promises";
import { expect } from "vitest";
import { createEngine } from "../../src/http2/engine/engine.ts";
import type { Bounds } from "../../src/http2/engine/limits.ts";
import type { Exchange, Receiver } from "../../src/http2/exchange.ts";
import type { Limits } from "../../src/http2/protocol.ts";
import { errorCode, type Frame, frameType, preface, settings, settingsAck } from "./http2-frames.ts";
import { createRawPeer, type RawPeer } from "./http2-peer.ts";
import { ask, type Recorded, useConnection, useProtocol, useSession } from "./http2-server.ts";

export const ok = [":status", "200", "content-type", "text/plain"];

/** Limits at which counts are exact: nothing is forgiven with time. */
export const exact = {
  emptyFrames: 50,
  emptyFramesPerSecond: 0,
  resets: 20,
  resetsPerSecond: 0,
} satisfies Partial<Bounds>;

export interface AttackOptions {
  readonly bounds?: Partial<Bounds>;
  readonly limits?: Partial<Limits>;
  readonly react?: (exchange: Exchange, recorded: Recorded) => Partial<Receiver>;
}

/** An engine, somebody who uses it honestly over a connection of its own, and an attacker's bare connection. */
export async function useAttack({ bounds = exact, limits = {}, react = () => ({}) }: AttackOptions = {}) {
  const honest = "/honest";
  const server = await useProtocol(
    (options) => createEngine({ ...options, bounds }),
    (exchange, recorded) => {
      if (exchange.headers[":path"] !== honest) return react(exchange, recorded);
      return { onEnd: () => exchange.answer(ok, Buffer.from(recorded.body())) };
    },
    limits,
  );
  const bystander = useSession(server.url);
  const askHonestly = async () => {
    const answer = await ask(bystander, { ":method": "POST", ":path": honest }, "still here");
    expect(answer).toMatchObject({ headers: { ":status": 200 }, text: "still here" });
  };
  await askHonestly();

  const connectRaw = async () => {
    const before = new Set(server.sockets);
    const { socket } = await useConnection(server.port);
    const peer = createRawPeer(socket);
    /** The server's end, once there is a byte. */
    const far = () => [...server.sockets].find((each) => !before.has(each));
    return { peer, socket, far };
  };
  const { peer, socket, far } = await connectRaw();
  return {
    ...server,
    peer,
    socket,
    far,
    connectRaw,
    askHonestly,
    /** The exchanges that are not of the bystander. */
    attacked: () => server.exchanges.filter(({ exchange }) => exchange.headers[":path"] !== honest),
    start: (...more: Uint8Array[]) => peer.send(preface, settings, settingsAck, ...more),
  };
}

/**
 * Sends what `next` makes until the connection has ended, or there is no more.
 *
 * @returns how often.
 */
export async function flood(peer: RawPeer, next: (at: number) => Uint8Array, times: number): Promise<number> {
  let sent = 0;
  while (sent < times && !peer.isClosed) {
    const batch: Uint8Array[] = [];
    for (; batch.length < 50 && sent < times; sent++) batch.push(next(sent));
    peer.send(...batch);
    await nextTurn();
  }
  return sent;
}

/** Waits for the end of the connection. @returns the code of the GOAWAY before it. */
export async function endCode(peer: RawPeer): Promise<number | undefined> {
  const frames = await peer.closed;
  return frames.findLast(isGoaway)?.payload.readUInt32BE(4);
}

export async function expectCalm(peer: RawPeer): Promise<void> {
  expect(await endCode(peer)).toBe(errorCode.enhanceYourCalm);
}

export function isGoaway(frame: Frame): boolean {
  return frame.type === frameType.goaway;
}

export function isResetOf(stream: number, code: number): (frame: Frame) => boolean {
  return (frame) => frame.type === frameType.reset && frame.stream === stream && frame.payload.readUInt32BE() === code;
}

export function ofType(peer: RawPeer, type: number): Frame[] {
  return peer.frames.filter((frame) => frame.type === type);
}
