import type { DecodedFields } from "./fields.ts";

/** How many blocks of a connection are remembered: a power of two. */
const maxBlocks = 16;
/** Longer blocks are not, in bytes, nor those with longer lists (RFC 9113, 6.5.2). */
const maxBlockSize = 256;
const maxListSize = 4_096;

/** What has come at a place: a hash, and once it has come again, what it said. */
interface Slot {
  hash: number;
  block: Uint8Array | undefined;
  fields: DecodedFields | undefined;
}

/**
 * Remembers what blocks said, as long as the table has not changed: peers send the same few over and over. A block is
 * remembered when it comes for the second time, since what differs in every request comes but once.
 */
export class BlockMemo {
  private readonly slots: (Slot | undefined)[] = new Array(maxBlocks).fill(undefined);
  private version = -1;

  /** @param version of the table. */
  find(block: Uint8Array, version: number): DecodedFields | undefined {
    if (version !== this.version || block.length > maxBlockSize) return undefined;
    const hash = hashOf(block);
    const slot = this.slots[hash & (maxBlocks - 1)];
    if (slot?.hash !== hash || slot.block === undefined || !areEqual(slot.block, block)) return undefined;
    return slot.fields;
  }

  /** Takes a block that has not changed the table of that version. */
  add(block: Uint8Array, version: number, fields: DecodedFields): void {
    if (block.length > maxBlockSize || fields.isTooLarge || fields.size > maxListSize) return;
    if (version !== this.version) this.forget();
    this.version = version;
    const hash = hashOf(block);
    const slot = this.slots[hash & (maxBlocks - 1)];
    if (slot?.hash === hash) {
      slot.block = block.slice();
      slot.fields = fields;
    } else {
      this.slots[hash & (maxBlocks - 1)] = { hash, block: undefined, fields: undefined };
    }
  }

  /** Keeps no text of the table as it was. */
  private forget(): void {
    for (const slot of this.slots) {
      if (slot === undefined) continue;
      slot.block = undefined;
      slot.fields = undefined;
    }
  }
}

/** FNV-1a. */
function hashOf(block: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < block.length; at++) hash = Math.imul(hash ^ (block[at] ?? 0), 0x01000193);
  // The low bits choose the place: let all of them count.
  return hash ^ (hash >>> 15);
}

function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}
