/** The messages of a caller that wait for a method that takes them one after the other. */
export class RequestQueue<M> implements AsyncIterable<M>, AsyncIterator<M, undefined> {
  readonly #waiting: M[] = [];
  readonly #onTaken: (left: number) => void;
  #isFinished = false;
  #error: unknown = undefined;
  #wake: (() => void) | undefined = undefined;

  /** @param onTaken is told how many are left whenever one was taken. */
  constructor(onTaken: (left: number) => void) {
    this.#onTaken = onTaken;
  }

  get size(): number {
    return this.#waiting.length;
  }

  push(message: M): void {
    if (this.#isFinished) return;
    this.#waiting.push(message);
    this.#wake?.();
  }

  /** No more come: after those that wait the end does, or, at once, the error. */
  finish(error?: unknown): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.#error = error;
    if (error !== undefined) this.#waiting.length = 0;
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<M, undefined>> {
    while (this.#waiting.length === 0 && !this.#isFinished) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const message = this.#waiting.shift();
    if (message !== undefined) {
      this.#onTaken(this.#waiting.length);
      return { done: false, value: message };
    }
    if (this.#error !== undefined) throw this.#error;
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorResult<M, undefined>> {
    this.#waiting.length = 0;
    this.#isFinished = true;
    this.#onTaken(0);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
