import { closeSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../random.ts";
import type { Attributes } from "./protocol.ts";

/** What the file system refuses, as the kernel numbers it. */
export class DiskError extends Error {
  override name = "DiskError";
  readonly errno: number;

  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

export const errno = { noEntry: 2, exists: 17, notDirectory: 20, invalid: 22, noSpace: 28, noSystem: 38, notEmpty: 39 };

/** A write that was not synced: what was there before. */
interface Undo {
  readonly offset: number;
  readonly bytes: Buffer;
  readonly size: number;
}

interface Node extends Attributes {
  size: number;
  mtimeMs: number;
  /** Of a directory. */
  readonly names: Map<string, Node> | undefined;
  readonly undos: Undo[];
  fd: number | undefined;
  opens: number;
}

/**
 * A tree of files that knows what would be left of it after a power cut. What was written to a file is safe when that
 * file was synced; names are safe, in their order, when anything was synced after them: as on a file system with a
 * journal that does not order data before names (XFS, or ext4 without `auto_da_alloc`).
 */
export interface Volume {
  attributes(node: number): Attributes;
  lookup(directory: number, name: string): Attributes;
  list(directory: number): (readonly [string, Attributes])[];
  create(directory: number, name: string, mode: number): Attributes;
  remove(directory: number, name: string): void;
  rename(directory: number, name: string, to: number, newName: string): void;
  open(node: number): void;
  release(node: number): void;
  read(node: number, offset: number, length: number): Buffer;
  /** Returns how much of it there was room for. */
  write(node: number, offset: number, bytes: Buffer): number;
  truncate(node: number, size: number): void;
  sync(node: number): void;
  syncAll(): void;
  /** Bytes that files may still grow by; no limit by default. */
  free: number;
  /** Forgets what was not synced: of names, and of each file, all or its newer part. Returns how many writes that were. */
  cut(random: Random): number;
}

const directoryType = 0o040000;
const rootNode = 1;

/** Creates an empty volume; what is in its files is kept in `dir`, under numbers. */
export function createVolume(dir: string): Volume {
  const nodes = new Map<number, Node>();
  /** How each change of names that was not synced is taken back. */
  const renames: (() => void)[] = [];
  let lastNode = rootNode;
  let free = Number.POSITIVE_INFINITY;

  const add = (ino: number, mode: number): Node => {
    const isDirectory = (mode & 0o170000) === directoryType;
    const names = isDirectory ? new Map<string, Node>() : undefined;
    const node: Node = { ino, mode, size: 0, mtimeMs: Date.now(), names, undos: [], fd: undefined, opens: 0 };
    nodes.set(ino, node);
    return node;
  };
  add(rootNode, directoryType | 0o755);

  const find = (ino: number): Node => {
    const node = nodes.get(ino);
    if (node === undefined) throw new DiskError(errno.noEntry);
    return node;
  };
  const namesOf = (ino: number): Map<string, Node> => {
    const { names } = find(ino);
    if (names === undefined) throw new DiskError(errno.notDirectory);
    return names;
  };
  const named = (directory: number, name: string): Node => {
    const node = namesOf(directory).get(name);
    if (node === undefined) throw new DiskError(errno.noEntry);
    return node;
  };
  const pathOf = ({ ino }: Node) => join(dir, String(ino));
  const fdOf = (node: Node): number => {
    node.fd ??= openSync(pathOf(node), "r+");
    return node.fd;
  };
  const close = (node: Node) => {
    if (node.fd === undefined || node.opens > 0) return;
    closeSync(node.fd);
    node.fd = undefined;
  };
  /** Sets a name, or takes it away, and remembers how it was. */
  const setName = (directory: number, name: string, node: Node | undefined) => {
    const names = namesOf(directory);
    const before = names.get(name);
    const set = (to: Node | undefined) => (to === undefined ? names.delete(name) : names.set(name, to));
    set(node);
    renames.push(() => set(before));
  };

  const readAt = (node: Node, offset: number, length: number): Buffer => {
    const bytes = Buffer.alloc(Math.max(0, Math.min(length, node.size - offset)));
    let read = 0;
    // Where nothing was written it is all zeros, and the file behind may be shorter.
    while (read < bytes.length) {
      const more = readSync(fdOf(node), bytes, read, bytes.length - read, offset + read);
      if (more === 0) break;
      read += more;
    }
    return bytes;
  };
  const resize = (node: Node, size: number) => {
    if (size < node.size) ftruncateSync(fdOf(node), size);
    free -= size - node.size;
    node.size = size;
  };
  const refuseWithoutRoom = () => {
    if (free <= 0) throw new DiskError(errno.noSpace);
  };
  /** Files that no name leads to, not even one that could come back, are no more. */
  const sweep = () => {
    const reached = new Set<Node>();
    const visit = (node: Node) => {
      reached.add(node);
      for (const child of node.names?.values() ?? []) visit(child);
    };
    visit(find(rootNode));
    for (const node of [...nodes.values()]) {
      if (reached.has(node) || node.opens > 0) continue;
      nodes.delete(node.ino);
      if (node.names !== undefined) continue;
      free += node.size;
      close(node);
      unlinkSync(pathOf(node));
    }
  };
  let isSwept = true;

  return {
    attributes: find,
    lookup: named,
    list: (directory) => [...namesOf(directory)],

    create(directory, name, mode) {
      if (namesOf(directory).has(name)) throw new DiskError(errno.exists);
      refuseWithoutRoom();
      const node = add(++lastNode, mode);
      if (node.names === undefined) closeSync(openSync(pathOf(node), "w"));
      setName(directory, name, node);
      return node;
    },

    remove(directory, name) {
      const node = named(directory, name);
      if (node.names !== undefined && node.names.size > 0) throw new DiskError(errno.notEmpty);
      setName(directory, name, undefined);
      isSwept = false;
    },

    rename(directory, name, to, newName) {
      const node = named(directory, name);
      const there = namesOf(to).get(newName);
      if (there?.names !== undefined && there.names.size > 0) throw new DiskError(errno.notEmpty);
      setName(directory, name, undefined);
      const undoRemoval = renames.pop();
      setName(to, newName, node);
      const undoArrival = renames.pop();
      // One change: it is never half there.
      renames.push(() => {
        undoArrival?.();
        undoRemoval?.();
      });
      isSwept = false;
    },

    open(ino) {
      find(ino).opens++;
    },

    release(ino) {
      const node = find(ino);
      node.opens--;
      close(node);
      if (node.opens === 0) isSwept = false;
    },

    read: (ino, offset, length) => readAt(find(ino), offset, length),

    write(ino, offset, bytes) {
      const node = find(ino);
      const grows = Math.max(0, offset + bytes.length - node.size);
      if (grows > 0) refuseWithoutRoom();
      const fits = bytes.subarray(0, bytes.length - Math.max(0, grows - free));
      node.undos.push({ offset, bytes: readAt(node, offset, fits.length), size: node.size });
      writeSync(fdOf(node), fits, 0, fits.length, offset);
      node.mtimeMs = Date.now();
      resize(node, Math.max(node.size, offset + fits.length));
      return fits.length;
    },

    truncate(ino, size) {
      const node = find(ino);
      node.undos.push({ offset: size, bytes: readAt(node, size, node.size - size), size: node.size });
      node.mtimeMs = Date.now();
      resize(node, size);
    },

    sync(ino) {
      find(ino).undos.length = 0;
      renames.length = 0;
      if (isSwept) return;
      isSwept = true;
      sweep();
    },

    syncAll() {
      for (const { undos } of nodes.values()) undos.length = 0;
      renames.length = 0;
      sweep();
    },

    get free() {
      return free;
    },
    set free(bytes) {
      free = bytes;
    },

    cut(random) {
      let lost = 0;
      const takeBack = <T>(changes: T[], undo: (change: T) => void) => {
        const kept = random.chance(0.5) ? 0 : random.between(0, changes.length);
        lost += changes.length - kept;
        for (const change of changes.splice(kept).reverse()) undo(change);
        changes.length = 0;
      };
      takeBack(renames, (undo) => undo());
      for (const node of nodes.values()) {
        node.opens = 0;
        takeBack(node.undos, ({ offset, bytes, size }) => {
          writeSync(fdOf(node), bytes, 0, bytes.length, offset);
          resize(node, size);
        });
        close(node);
      }
      sweep();
      return lost;
    },
  };
}
