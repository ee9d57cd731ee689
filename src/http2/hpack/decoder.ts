import { BlockMemo } from "./block-memo.ts";
import { BlockReader } from "./block-reader.ts";
import { CompressionError } from "./compression-error.ts";
import { DecodedBlock } from "./decoded-block.ts";
import { DynamicTable } from "./dynamic-table.ts";
import type { DecodedFields, Decoder, DecoderLimits } from "./fields.ts";
import { staticNames, staticValues } from "./static-table.ts";

/** Before a block: to the lowest limit since the last one, and to the one that it has now (RFC 7541, 4.2). */
const maxSizeUpdates = 2;
/** What a field counts for besides its bytes (RFC 9113, 6.5.2). */
const fieldOverhead = 32;
const firstDynamic = staticNames.length;

/** Decoders read a whole block at once: they share it. */
const reader = new BlockReader();
const noBlock = new Uint8Array();

export function createDecoder(limits: DecoderLimits): Decoder {
  return new TableDecoder(limits);
}

class TableDecoder implements Decoder {
  private readonly table: DynamicTable;
  private readonly maxListSize: number;
  private maxTableSize: number;
  /** The next block has to begin with lowering the table to this, or further. */
  private requiredSize: number | undefined;
  private memo: BlockMemo | undefined;

  constructor(limits: DecoderLimits) {
    this.table = new DynamicTable(limits.maxTableSize);
    this.maxTableSize = limits.maxTableSize;
    this.maxListSize = limits.maxListSize;
    this.requiredSize = undefined;
    this.memo = undefined;
  }

  setMaxTableSize(size: number): void {
    this.maxTableSize = size;
    if (size < this.table.maxSize) this.requiredSize = Math.min(size, this.requiredSize ?? size);
  }

  decode(block: Uint8Array): DecodedFields {
    const { version } = this.table;
    const known = this.requiredSize === undefined ? this.memo?.find(block, version) : undefined;
    if (known !== undefined) return known;
    reader.start(block);
    try {
      const updates = this.readSizeUpdates();
      const fields = this.readFields();
      if (updates === 0 && this.table.version === version) {
        this.memo ??= new BlockMemo();
        this.memo.add(block, version, fields);
      }
      return fields;
    } finally {
      reader.start(noBlock);
    }
  }

  /** @returns how many there were. */
  private readSizeUpdates(): number {
    let updates = 0;
    for (; !reader.isAtEnd() && isSizeUpdate(reader.peek()); updates++) {
      if (updates === maxSizeUpdates) throw new CompressionError("more than two table size updates");
      const size = reader.readInteger(5);
      if (size > this.maxTableSize) throw new CompressionError("a table size over the limit");
      if (size > (this.requiredSize ?? size)) throw new CompressionError("a table that is not lowered to its limit");
      this.requiredSize = undefined;
      this.table.setMaxSize(size);
    }
    if (this.requiredSize !== undefined) throw new CompressionError("no table size update after a lower limit");
    return updates;
  }

  private readFields(): DecodedFields {
    const list: string[] = [];
    let size = 0;
    while (!reader.isAtEnd()) {
      const first = reader.peek();
      let name: string;
      let value: string;
      if (first >= 0x80) {
        const index = reader.readInteger(7);
        name = this.nameAt(index);
        value = index < firstDynamic ? (staticValues[index] ?? "") : this.table.valueAt(index - firstDynamic);
      } else {
        if (isSizeUpdate(first)) throw new CompressionError("a table size update after a field");
        const isToBeIndexed = first >= 0x40;
        const index = reader.readInteger(isToBeIndexed ? 6 : 4);
        name = index === 0 ? reader.readText() : this.nameAt(index);
        value = reader.readText();
        if (isToBeIndexed) this.table.add(name, value);
      }
      size += name.length + value.length + fieldOverhead;
      if (size <= this.maxListSize) list.push(name, value);
    }
    return new DecodedBlock(list, size, size > this.maxListSize);
  }

  private nameAt(index: number): string {
    if (index === 0 || index >= firstDynamic + this.table.count)
      throw new CompressionError("an index without an entry");
    return index < firstDynamic ? (staticNames[index] ?? "") : this.table.nameAt(index - firstDynamic);
  }
}

function isSizeUpdate(first: number): boolean {
  return first >= 0x20 && first < 0x40;
}
