/** Asks `read` at most once in `keptMs`, in milliseconds: whoever asks in between gets the same answer. */
export function atMostEvery<T>(keptMs: number, read: () => Promise<T>): () => Promise<T> {
  let kept: { readonly untilMs: number; readonly answer: Promise<T> } | undefined;
  return () => {
    if (kept === undefined || performance.now() >= kept.untilMs) {
      kept = { untilMs: performance.now() + keptMs, answer: read() };
    }
    return kept.answer;
  };
}
