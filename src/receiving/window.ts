/** What a device was sent and has not acknowledged: no more than it asks for. */
export class Window {
  #size: number;
  /** The sequences, oldest first; undefined when there are none. */
  #sent: number[] | undefined = undefined;
  #acknowledged = 0;
  #sentThrough = 0;

  /** @param size how many may be unacknowledged. */
  constructor(size: number) {
    this.#size = size;
  }

  get size(): number {
    return this.#size;
  }

  resize(size: number): void {
    this.#size = size;
  }

  isClosed(): boolean {
    return this.#sent !== undefined && this.#sent.length >= this.#size;
  }

  /** Everything up to this is known to be acknowledged when the session begins. */
  begin(sequence: number): void {
    this.#sentThrough = sequence;
  }

  /** One more was sent. */
  add(sequence: number): void {
    this.#sentThrough = sequence;
    if (this.#sent === undefined) this.#sent = [sequence];
    else this.#sent.push(sequence);
  }

  /** The device has handled everything up to this sequence; false when that opens nothing. */
  acknowledge(sequence: number): boolean {
    this.#acknowledged = Math.max(this.#acknowledged, sequence);
    const [oldest] = this.#sent ?? [];
    if (oldest === undefined || oldest > sequence) return false;
    const left = this.#sent?.findIndex((one) => one > sequence) ?? -1;
    if (left === -1) this.#sent = undefined;
    else this.#sent?.splice(0, left);
    return true;
  }

  /** The highest sequence that {@link acknowledge} was told; 0 before. */
  acknowledged(): number {
    return this.#acknowledged;
  }

  /** Everything up to this sequence was sent, or was known to be acknowledged when the session began. */
  sentThrough(): number {
    return this.#sentThrough;
  }
}
