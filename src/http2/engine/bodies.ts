import { flag } from "../frames/frames.ts";
import { type Flow, grant } from "./flow.ts";
import { done, Held, type Stream } from "./stream.ts";

/** What receivers are told of request bodies, and what is kept of those that are not read. */
export interface Bodies extends Flow {
  /** What a receiver throws is its stream's. */
  blame(stream: Stream, err: unknown): void;
}

/** Nobody reads a request any more when its answer is complete. */
const isDeaf = done.answer | done.all;

/** Hands on a piece of a body, or keeps it while its receiver pauses; then it is not granted again. */
export function takePiece(bodies: Bodies, stream: Stream, bytes: Uint8Array, flags: number): void {
  if ((stream.state & isDeaf) !== 0) {
    grant(bodies, undefined, bytes.length, flags);
  } else if ((stream.state & done.paused) !== 0 || stream.held !== undefined) {
    stream.held ??= new Held();
    stream.held.add(bytes);
  } else {
    give(bodies, stream, bytes);
    grant(bodies, stream, bytes.length, flags);
  }
}

/** The request is complete. */
export function takeEnd(bodies: Bodies, stream: Stream): void {
  stream.state |= done.remote;
  if ((stream.state & isDeaf) !== 0) return;
  if (stream.held !== undefined) stream.held.isEnd = true;
  else tellEnd(bodies, stream);
}

/** Gives a receiver what was kept for it, until it pauses again. */
export function releaseHeld(bodies: Bodies, stream: Stream): void {
  const { held } = stream;
  if (held === undefined) return;
  while ((stream.state & (done.paused | isDeaf)) === 0) {
    const piece = held.take();
    if (piece === undefined) {
      stream.held = undefined;
      if (held.isEnd) tellEnd(bodies, stream);
      return;
    }
    give(bodies, stream, piece);
    grant(bodies, stream, piece.length, held.isEnd ? flag.endStream : 0);
  }
}

function give(bodies: Bodies, stream: Stream, bytes: Uint8Array): void {
  try {
    stream.receiver?.onData(bytes);
  } catch (err) {
    bodies.blame(stream, err);
  }
}

function tellEnd(bodies: Bodies, stream: Stream): void {
  try {
    stream.receiver?.onEnd();
  } catch (err) {
    bodies.blame(stream, err);
  }
}
