import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { BaseLogger } from "pino";
import type { Broker } from "../broker/connect.ts";
import { toRefusal } from "../broker/faults.ts";
import type { DirectMessage } from "../broker/reads/direct-get.ts";
import { purge } from "../broker/reads/leader.ts";
import { untilAnswered } from "../broker/until.ts";
import { write } from "../broker/write.ts";
import { deadlineIn, leftUntil } from "../deadline.ts";
import { failure } from "../errors.ts";
import type { WriteGate } from "../publishing/publish.ts";
import { askAgainMs, behindMs, encodeMarker, readNewest, toMarker } from "./epoch-marker.ts";
import { adopt, createPartition, isMissing, isStrange, type Partition } from "./epoch-partition.ts";
import { markerSubject, parseInboxPartition } from "./layout.ts";
import { type Epoch, endOf, epochAt, type Lineage, type Position } from "./lineage.ts";

/** Options of {@link createEpochs}. */
export interface EpochsOptions {
  readonly reads: Broker;
  readonly writes: Broker;
  readonly partitions: number;
  /** How long the broker keeps a message, in milliseconds. */
  readonly retentionMs: number;
  /** Whether the streams have replicas. Default false. */
  readonly isReplicated?: boolean;
  readonly log: BaseLogger;
}

/**
 * The lineages of the inbox streams. An instance begins an epoch before it writes to an inbox through a connection to a
 * server process that it has not written through: only while one runs is it known that the store is the same. That
 * begins with a marker in the stream itself, so the lineage is copied, restored and cut off with what it describes.
 */
export interface Epochs extends WriteGate {
  /** The lineage of a partition, as far as this instance knows; another object whenever that has changed. */
  lineage(partition: number): Lineage;
  /** Looks whether the lineage is still so, unless that was done lately and over the same connection. */
  refresh(partition: number): Promise<void>;
  /** Looks, whenever that was done. */
  look(partition: number): Promise<void>;
  /**
   * Looks, unless it is known which epochs began up to a sequence: what is labelled there needs them.
   *
   * @param epoch that of the sequence. Default: the one that has it as far as is known.
   */
  know(partition: number, sequence: number, epoch?: string): Promise<void>;
  /**
   * Looks, if one of these positions is of an epoch that is not known, or beyond what is known to be assigned: another
   * instance may have begun it, or have written there.
   */
  meet(partition: number, positions: readonly Position[]): Promise<void>;
  /** Takes a marker that was read on the way. */
  learn(partition: number, marker: DirectMessage): void;
  /** The sequence at which a position is in the store as it is known: its own, or the last that is left of its epoch. */
  placeOf(partition: number, position: Position): number;
  /** The highest sequence known to be assigned. */
  newest(partition: number): number;
  /** How often a store was found replaced: what was kept of an earlier count may not hold any more. */
  replacements(): number;
  /** All up to a sequence has been read, with its markers, from one that {@link Epochs.know} was called for. */
  saw(partition: number, sequence: number): void;
  /** Before a write, for {@link wrote}. */
  beforeWrite(partition: number): BeforeWrite;
  /** A write was given this sequence. One that was given before says that the stream is another. */
  wrote(partition: number, before: BeforeWrite, sequence: number): void;
  /** Stops renewing markers. */
  close(): void;
}

/** What was known when a write began. */
export interface BeforeWrite {
  readonly lineage: Lineage;
  readonly newest: number;
}

/** A lineage is taken as known for this long, in milliseconds: a session reads about every heartbeat. */
const lookEveryMs = 10_000;

/** Markers of a stream: they are in each read of an inbox, which the broker answers up to 1,024 subjects. */
const keptMarkers = 16;

/** How long one request may take, in milliseconds. */
const requestMs = 2_500;

/** Creates the epochs of the inbox streams; nothing is read before it is asked for. */
export function createEpochs(options: EpochsOptions): Epochs {
  const { reads, writes, partitions, retentionMs, isReplicated = false, log } = options;
  const all = Array.from({ length: partitions }, (_, number) => createPartition(number));
  const of = (partition: number): Partition => {
    const found = all[partition];
    if (found === undefined) throw new RangeError(`there is no partition ${partition}`);
    return found;
  };

  let replacements = 0;

  const isOpen = ({ openFor }: Partition) => openFor !== undefined && openFor === writes.nc.info?.server_id;

  /** What is known does not hold; `isSame` when the server that says so is the one that said it. */
  const replaced = (partition: Partition, isSame: boolean) => {
    replacements++;
    partition.replacements++;
    partition.knownThrough = 0;
    partition.lineage = [...partition.lineage];
    partition.openFor = undefined;
    if (!isSame || partition.inDoubt) return;
    partition.inDoubt = true;
    log.warn({ stream: partition.stream }, "the store of notifications was replaced while the broker ran");
    open(partition).catch((err: unknown) => log.warn({ err }, "cannot begin an epoch now; the next write does"));
  };

  /** Reads the newest marker, and over a new connection the state, from the stream's leader. */
  const lookOver = async (broker: Broker, partition: Partition, counts: boolean): Promise<void> => {
    const { info } = broker.nc;
    if (info === undefined) throw failure("NetworkError", "the broker cannot be reached");
    const { newest, replacements: before } = partition;
    const isSame = partition.lastServer === info.server_id;
    const counted = counts || !partition.seenOver.has(info);
    const known = { marker: partition.marker, newest };
    const { last, marker } = await readNewest(broker, partition.number, { known, counts: counted, isReplicated });
    if (broker.nc.info !== info) throw failure("NetworkError", "the connection to the broker was lost");
    // A look over the other connection has judged the same change meanwhile, and more may be written since.
    const isJudged = partition.replacements !== before;
    const isLater = marker !== undefined && marker.number > (partition.marker?.number ?? 0);
    if (isLater) adopt(partition, marker);
    // One that was learned meanwhile, while this one was read, is the newer knowledge.
    else if (known.marker === partition.marker && known.marker?.sequence !== marker?.sequence) {
      adopt(partition, marker);
      replaced(partition, isSame);
    }
    if (last < newest && !isJudged) {
      partition.newest = Math.max(last, partition.marker?.sequence ?? 0);
      replaced(partition, isSame);
    } else {
      partition.newest = Math.max(partition.newest, last);
    }
    partition.knownThrough = Math.max(partition.knownThrough, last);
    partition.lastServer = info.server_id;
    partition.seenOver.add(info);
    partition.lookedAtMs = Date.now();
  };

  /** Stores the next marker; false when another writer was faster. */
  const mark = async (partition: Partition, epoch: Epoch, earlier: Lineage): Promise<boolean> => {
    const { marker, number, stream } = partition;
    const next = (marker?.number ?? 0) + 1;
    const payload = encodeMarker(epoch, earlier);
    const stored = await write(writes, [{ subject: markerSubject(number, next), payload }], requestMs);
    await lookOver(writes, partition, false);
    if (stored.kind === "refused") {
      if ((partition.marker?.number ?? 0) >= next) return false;
      throw toRefusal(stored);
    }
    // What cannot be removed goes with the retention.
    if (next > keptMarkers) {
      const filter = markerSubject(number, next - keptMarkers);
      await purge(writes, stream, { filter }).catch(() => {});
    }
    return true;
  };

  const begin = async (partition: Partition): Promise<void> => {
    for (let waitedMs = 0; !isOpen(partition); ) {
      const server = writes.nc.info?.server_id;
      if (server === undefined) {
        // The connection has just been lost, or is being made.
        if (waitedMs >= requestMs) throw failure("NetworkError", "the broker cannot be reached");
        waitedMs += 20;
        await delay(20);
        continue;
      }
      await lookOver(writes, partition, false);
      const { lineage, inDoubt } = partition;
      const newest = lineage.at(-1);
      // In doubt, all positions of the newest epoch are: they may be of the stream before or of this one.
      const epoch = { id: randomBytes(8).toString("base64url"), first: inDoubt ? (newest?.first ?? 1) : 0 };
      const isOurs = await mark(partition, epoch, lineage);
      // Another's epoch has begun after we looked, and so will do; a marker that was renewed will not.
      if (!isOurs && (inDoubt || partition.lineage.at(-1)?.id === newest?.id)) continue;
      partition.inDoubt = false;
      partition.openFor = server;
      log.info({ stream: partition.stream, epoch: partition.lineage.at(-1)?.id }, "the store has a new epoch");
    }
  };

  const open = (partition: Partition): Promise<void> => {
    partition.opening ??= begin(partition).finally(() => {
      partition.opening = undefined;
    });
    return partition.opening;
  };

  /** Writes the newest marker again before the retention removes it. */
  const renew = async (partition: Partition): Promise<void> => {
    await lookOver(reads, partition, false);
    const { marker, lineage } = partition;
    const newest = lineage.at(-1);
    if (marker === undefined || newest === undefined || marker.storedAtMs > Date.now() - retentionMs / 10) return;
    await mark(partition, newest, lineage.slice(0, -1));
  };
  const renewal = setInterval(
    () => {
      if (!reads.isConnected() || !writes.isConnected()) return;
      for (const partition of all) {
        renew(partition).catch((err: unknown) =>
          log.warn({ err, stream: partition.stream }, "cannot renew the marker of an epoch now"),
        );
      }
    },
    Math.min(Math.max(retentionMs / 20, 100), 3_600_000),
  );
  renewal.unref();

  const look = (partition: Partition, kind: "look" | "count"): Promise<void> => {
    let next = partition.next.get(kind);
    if (next === undefined) {
      next = partition.turn.then(() => {
        partition.next.delete(kind);
        return untilAnswered(reads, deadlineIn(2 * requestMs), () => lookOver(reads, partition, kind === "count"));
      });
      partition.next.set(kind, next);
      partition.turn = next.catch(() => {});
    }
    return next;
  };

  /** Looks until nothing is missing: a leader may answer before it has applied what another instance has read. */
  const lookFor = async (partition: Partition, positions: readonly Position[]): Promise<void> => {
    const deadline = deadlineIn(isReplicated ? behindMs : 0);
    for (;;) {
      await look(partition, "count");
      if (!positions.some((position) => isMissing(partition, position)) || leftUntil(deadline) < askAgainMs) return;
      await delay(askAgainMs);
    }
  };

  const toPartition = (subject: string): Partition | undefined => all[parseInboxPartition(subject) ?? -1];

  return {
    isOpen(subject) {
      const partition = toPartition(subject);
      return partition === undefined || isOpen(partition);
    },
    async open(subject) {
      const partition = toPartition(subject);
      if (partition !== undefined && !isOpen(partition)) await open(partition);
    },
    lineage: (partition) => of(partition).lineage,
    async refresh(number) {
      const partition = of(number);
      const { info } = reads.nc;
      const isKnown = info !== undefined && partition.seenOver.has(info);
      if (!isKnown || partition.lookedAtMs < Date.now() - lookEveryMs) await look(partition, "look");
    },
    look: (number) => look(of(number), "count"),
    async know(number, sequence, epoch) {
      const partition = of(number);
      if (sequence <= partition.knownThrough) return;
      await lookFor(partition, [{ epoch: epoch ?? epochAt(partition.lineage, sequence), sequence }]);
    },
    async meet(number, positions) {
      const partition = of(number);
      const isNew = ({ epoch }: Position) => isStrange(partition, epoch) && !partition.strangers.has(epoch);
      if (!positions.some((position) => position.sequence > partition.newest || isNew(position))) return;
      await lookFor(partition, positions);
      for (const { epoch } of positions.filter(isNew)) partition.strangers.add(epoch);
    },
    learn(number, message) {
      const marker = toMarker(message.subject, message.sequence, message.timeMs, message.payload);
      const partition = of(number);
      if (marker.number > (partition.marker?.number ?? 0)) adopt(partition, marker);
    },
    placeOf(number, { epoch, sequence }) {
      const { lineage, newest } = of(number);
      return Math.min(sequence, endOf(lineage, epoch), newest);
    },
    newest: (number) => of(number).newest,
    replacements: () => replacements,
    saw(number, sequence) {
      const partition = of(number);
      partition.newest = Math.max(partition.newest, sequence);
      partition.knownThrough = Math.max(partition.knownThrough, sequence);
    },
    beforeWrite(number) {
      const { lineage, newest } = of(number);
      return { lineage, newest };
    },
    wrote(number, before, sequence) {
      const partition = of(number);
      if (before.lineage === partition.lineage && sequence <= before.newest) {
        partition.newest = sequence;
        replaced(partition, true);
      } else {
        partition.newest = Math.max(partition.newest, sequence);
      }
    },
    close: () => clearInterval(renewal),
  };
}
