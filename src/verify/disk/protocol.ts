/** What a kernel asks of a file system in user space, and how it is answered: FUSE 7.31, in the machine's byte order. */
export interface Request {
  readonly opcode: number;
  readonly unique: bigint;
  readonly node: number;
  /** What comes after the header: valid until the next read. */
  readonly body: Buffer;
}

/** What is asked for, by its number; what is not here is answered with ENOSYS. */
export const op = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  mkdir: 9,
  unlink: 10,
  rmdir: 11,
  rename: 12,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  fsyncdir: 30,
  access: 34,
  create: 35,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  rename2: 45,
} as const;

/** The longest write that is taken at once, in bytes, and what a buffer for requests holds. */
const maxWrite = 1 << 20;
export const requestBytes = maxWrite + 4_096;

const headerBytes = 40;
const [bigWrites, maxPages] = [1 << 5, 1 << 22];

/** Reads a request. */
export function parseRequest(bytes: Buffer): Request {
  return {
    opcode: bytes.readUInt32LE(4),
    unique: bytes.readBigUInt64LE(8),
    node: Number(bytes.readBigUInt64LE(16)),
    body: bytes.subarray(headerBytes),
  };
}

/** An answer: what was asked for, or the number of an error. */
export function toAnswer(unique: bigint, content: Buffer, errno = 0): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + content.length, 0);
  header.writeInt32LE(-errno, 4);
  header.writeBigUInt64LE(unique, 8);
  return Buffer.concat([header, content]);
}

/** The answer to the first request: what we speak, and no delayed writes. */
export function toInit(): Buffer {
  const out = Buffer.alloc(64);
  out.writeUInt32LE(7, 0);
  out.writeUInt32LE(31, 4);
  out.writeUInt32LE(1 << 17, 8);
  out.writeUInt32LE(bigWrites | maxPages, 12);
  out.writeUInt16LE(64, 16);
  out.writeUInt16LE(48, 18);
  out.writeUInt32LE(maxWrite, 20);
  out.writeUInt32LE(1, 24);
  out.writeUInt16LE(maxWrite / 4_096, 28);
  return out;
}

/** What is known of a file or a directory. */
export interface Attributes {
  readonly ino: number;
  readonly size: number;
  readonly mode: number;
  readonly mtimeMs: number;
}

/** Names and attributes stay valid for this long, in seconds: nobody but the kernel changes them. */
const validSeconds = 3_600n;

function writeAttributes(out: Buffer, at: number, { ino, size, mode, mtimeMs }: Attributes): void {
  out.writeBigUInt64LE(BigInt(ino), at);
  out.writeBigUInt64LE(BigInt(size), at + 8);
  out.writeBigUInt64LE(BigInt(Math.ceil(size / 512)), at + 16);
  for (const place of [24, 32, 40]) out.writeBigUInt64LE(BigInt(Math.floor(mtimeMs / 1_000)), at + place);
  for (const place of [48, 52, 56]) out.writeUInt32LE(Math.floor(mtimeMs % 1_000) * 1_000_000, at + place);
  out.writeUInt32LE(mode, at + 60);
  out.writeUInt32LE(1, at + 64);
  out.writeUInt32LE(process.getuid?.() ?? 0, at + 68);
  out.writeUInt32LE(process.getgid?.() ?? 0, at + 72);
  out.writeUInt32LE(4_096, at + 80);
}

export function toAttributes(attributes: Attributes): Buffer {
  const out = Buffer.alloc(104);
  out.writeBigUInt64LE(validSeconds, 0);
  writeAttributes(out, 16, attributes);
  return out;
}

export function toEntry(attributes: Attributes): Buffer {
  const out = Buffer.alloc(128);
  out.writeBigUInt64LE(BigInt(attributes.ino), 0);
  out.writeBigUInt64LE(validSeconds, 16);
  out.writeBigUInt64LE(validSeconds, 24);
  writeAttributes(out, 40, attributes);
  return out;
}

/** An open file needs no handle of its own: the node is enough. */
export const opened = Buffer.alloc(16);

export function toWritten(bytes: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeUInt32LE(bytes, 0);
  return out;
}

/** The part of a directory that begins at `offset`, as far as it fits. */
export function toListing(
  names: readonly (readonly [name: string, attributes: Attributes])[],
  offset: number,
  maxBytes: number,
): Buffer {
  const parts: Buffer[] = [];
  let bytes = 0;
  for (const [index, [name, { ino, mode }]] of names.entries()) {
    if (index < offset) continue;
    const encoded = Buffer.from(name);
    const out = Buffer.alloc((24 + encoded.length + 7) & ~7);
    bytes += out.length;
    if (bytes > maxBytes) break;
    out.writeBigUInt64LE(BigInt(ino), 0);
    out.writeBigUInt64LE(BigInt(index + 1), 8);
    out.writeUInt32LE(encoded.length, 16);
    out.writeUInt32LE(mode >> 12, 20);
    encoded.copy(out, 24);
    parts.push(out);
  }
  return Buffer.concat(parts);
}

/** How large the disk is, and what is free, in bytes. */
export function toDiskSize(total: number, free: number): Buffer {
  const out = Buffer.alloc(80);
  out.writeBigUInt64LE(BigInt(Math.floor(total / 4_096)), 0);
  for (const at of [8, 16]) out.writeBigUInt64LE(BigInt(Math.floor(free / 4_096)), at);
  for (const at of [24, 32]) out.writeBigUInt64LE(1_000_000n, at);
  out.writeUInt32LE(4_096, 40);
  out.writeUInt32LE(255, 44);
  out.writeUInt32LE(4_096, 48);
  return out;
}

/** The names, each of which ends with a zero. */
export function parseNames(bytes: Buffer): string[] {
  return bytes.toString("utf8").split("\0").slice(0, -1);
}
