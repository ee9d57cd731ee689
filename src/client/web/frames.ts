/** A frame of a Connect stream: a byte of flags, the length in four bytes, and a text. */
export interface Frame {
  readonly flags: number;
  readonly text: string;
}

const prefixBytes = 5;

/** Whether the frame is the last one of its stream. */
export function isEnd(flags: number): boolean {
  return (flags & 2) !== 0;
}

/** A frame of a request. */
export function toFrame(text: string): Uint8Array<ArrayBuffer> {
  const content = new TextEncoder().encode(text);
  const frame = new Uint8Array(prefixBytes + content.length);
  new DataView(frame.buffer).setUint32(1, content.length);
  frame.set(content, prefixBytes);
  return frame;
}

/** Reads the frames of an answer as they come. One that breaks off in the middle is dropped. */
export async function* readFrames(body: ReadableStream<Uint8Array>): AsyncGenerator<Frame> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let waiting: Uint8Array[] = [];
  let size = 0;
  let wanted = prefixBytes;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      waiting.push(value);
      size += value.length;
      if (size < wanted) continue;
      let bytes = concat(waiting, size);
      for (;;) {
        const { buffer, byteOffset, length } = bytes;
        wanted = prefixBytes;
        if (length < wanted) break;
        wanted += new DataView(buffer, byteOffset).getUint32(1);
        if (length < wanted) break;
        yield { flags: bytes[0] ?? 0, text: decoder.decode(bytes.subarray(prefixBytes, wanted)) };
        bytes = bytes.subarray(wanted);
      }
      waiting = [bytes];
      size = bytes.length;
    }
  } finally {
    // Whoever leaves in the middle does not wait for that.
    void reader.cancel().catch(() => undefined);
  }
}

function concat(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const [only] = chunks;
  if (chunks.length === 1 && only !== undefined) return only;
  const all = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
