import {
  op,
  opened,
  parseNames,
  type Request,
  toAttributes,
  toDiskSize,
  toEntry,
  toInit,
  toListing,
  toWritten,
} from "./protocol.ts";
import { DiskError, errno, type Volume } from "./volume.ts";

/** How large the disk says that it is, in bytes. */
const totalBytes = 2 ** 40;

const [directoryType, fileType] = [0o040000, 0o100000];
/** Which attributes are to be set: of those only the size means something here. */
const setsSize = 8;
/** Renames that are more than a rename: exchange, whiteout. */
const plainRenames = 1;

const nothing = Buffer.alloc(0);

/**
 * Does what is asked for, and returns the answer; undefined to what has none.
 *
 * @throws {DiskError}
 */
export function answer(volume: Volume, { opcode, node, body }: Request): Buffer | undefined {
  const number = (at: number) => Number(body.readBigUInt64LE(at));
  const [name = "", newName = ""] = parseNames(body.subarray(namesAt[opcode] ?? body.length));
  switch (opcode) {
    case op.init:
      return toInit();
    case op.lookup:
      return toEntry(volume.lookup(node, name));
    case op.getattr:
      return toAttributes(volume.attributes(node));
    case op.setattr:
      if ((body.readUInt32LE(0) & setsSize) !== 0) volume.truncate(node, number(16));
      return toAttributes(volume.attributes(node));
    case op.mkdir:
      return toEntry(volume.create(node, name, directoryType | (body.readUInt32LE(0) & 0o777)));
    case op.create: {
      const attributes = volume.create(node, name, fileType | (body.readUInt32LE(4) & 0o777));
      volume.open(attributes.ino);
      return Buffer.concat([toEntry(attributes), opened]);
    }
    case op.unlink:
    case op.rmdir:
      volume.remove(node, name);
      return nothing;
    case op.rename2:
      if (body.readUInt32LE(8) > plainRenames) throw new DiskError(errno.invalid);
      volume.rename(node, name, number(0), newName);
      return nothing;
    case op.rename:
      volume.rename(node, name, number(0), newName);
      return nothing;
    case op.open:
      volume.open(node);
      return opened;
    case op.read:
      return volume.read(node, number(8), body.readUInt32LE(16));
    case op.write: {
      const bytes = body.subarray(40, 40 + body.readUInt32LE(16));
      return toWritten(volume.write(node, number(8), bytes));
    }
    case op.fsync:
    case op.fsyncdir:
      volume.sync(node);
      return nothing;
    case op.release:
      volume.release(node);
      return nothing;
    case op.opendir:
      return opened;
    case op.readdir:
      return toListing(volume.list(node), number(8), body.readUInt32LE(16));
    case op.statfs:
      return toDiskSize(totalBytes, Math.max(0, Math.min(totalBytes, volume.free)));
    case op.flush:
    case op.releasedir:
    case op.access:
    case op.destroy:
      return nothing;
    case op.forget:
    case op.batchForget:
    case op.interrupt:
      return undefined;
    default:
      throw new DiskError(errno.noSystem);
  }
}

/** Where the names of a request begin. */
const namesAt: Readonly<Record<number, number>> = {
  [op.lookup]: 0,
  [op.unlink]: 0,
  [op.rmdir]: 0,
  [op.mkdir]: 8,
  [op.rename]: 8,
  [op.create]: 16,
  [op.rename2]: 16,
};
