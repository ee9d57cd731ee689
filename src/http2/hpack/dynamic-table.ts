/** What an entry counts for besides its bytes (RFC 7541, 4.1). */
const entryOverhead = 32;

/** The dynamic table of a connection (RFC 7541, 2.3.2): a ring, which grows with what it has held. */
export class DynamicTable {
  /** Changes whenever an index may mean something else than before. */
  version = 0;
  /** How many entries it has. */
  count = 0;
  maxSize: number;
  private size = 0;
  /** Where the newest entry is; the older ones follow. */
  private newest = 0;
  private names: string[] = [];
  private values: string[] = [];

  constructor(maxSize: number) {
    this.maxSize = maxSize;
  }

  /** @param index counted from the newest entry, which is 0; below {@link count}. */
  nameAt(index: number): string {
    return this.names[(this.newest + index) & (this.names.length - 1)] ?? "";
  }

  valueAt(index: number): string {
    return this.values[(this.newest + index) & (this.values.length - 1)] ?? "";
  }

  /** Adds an entry, for which the oldest ones go. One that is larger than the table empties it, and is not in it. */
  add(name: string, value: string): void {
    this.version++;
    const size = name.length + value.length + entryOverhead;
    this.evictTo(this.maxSize - size);
    if (size > this.maxSize) return;
    if (this.count === this.names.length) this.grow();
    this.newest = (this.newest - 1) & (this.names.length - 1);
    this.names[this.newest] = name;
    this.values[this.newest] = value;
    this.count++;
    this.size += size;
  }

  setMaxSize(size: number): void {
    this.maxSize = size;
    this.evictTo(size);
  }

  private evictTo(size: number): void {
    while (this.size > size && this.count > 0) {
      this.version++;
      this.count--;
      const oldest = (this.newest + this.count) & (this.names.length - 1);
      this.size -= this.nameAt(this.count).length + this.valueAt(this.count).length + entryOverhead;
      this.names[oldest] = "";
      this.values[oldest] = "";
    }
  }

  private grow(): void {
    const capacity = Math.max(8, this.names.length * 2);
    const copy = (of: (index: number) => string): string[] =>
      Array.from({ length: capacity }, (_, index) => (index < this.count ? of(index) : ""));
    [this.names, this.values] = [copy((index) => this.nameAt(index)), copy((index) => this.valueAt(index))];
    this.newest = 0;
  }
}
