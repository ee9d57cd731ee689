/** A limit of the engine. */
interface Limit {
  readonly value: number;
  readonly unit: string;
  /** What happens without it, and what happens at it. */
  readonly against: string;
}

/**
 * Everything that a peer can make the engine keep or do, and how much of it, besides what `Limits` of the protocol say.
 * "Calm" is GOAWAY with ENHANCE_YOUR_CALM, after which the connection is closed.
 */
export const table = {
  frameBytes: {
    value: 16_384,
    unit: "bytes",
    against:
      "large frames, which are kept until they are whole: FRAME_SIZE_ERROR. The least that RFC 9113 allows (6.5.2)",
  },
  headerTableBytes: { value: 4_096, unit: "bytes", against: "HPACK bombs: what a header block may refer to" },
  blockBytes: { value: 32_768, unit: "bytes", against: "CONTINUATION floods, large header blocks: calm" },
  continuations: { value: 16, unit: "frames a header block", against: "CONTINUATION floods of small frames: calm" },
  firstWindowBytes: {
    value: 65_535,
    unit: "bytes",
    against:
      "many request bodies at once that nobody takes: a stream gets the window below when half of this one is taken. That of RFC 9113 (6.9.2)",
  },
  streamWindowBytes: {
    value: 1_048_576,
    unit: "bytes",
    against: "request bodies that nobody reads: the peer has to wait",
  },
  connectionWindowBytes: {
    value: 4_194_304,
    unit: "bytes",
    against: "the same on all streams of a connection together",
  },
  waitingStreamBytes: {
    value: 262_144,
    unit: "bytes",
    against: "answers that the peer does not take (zero windows): write returns false",
  },
  waitingConnectionBytes: {
    value: 1_048_576,
    unit: "bytes",
    against: "the same on all streams of a connection together",
  },
  maxWaitingBytes: {
    value: 33_554_432,
    unit: "bytes",
    against: "whole answers, which cannot wait to be written, on all streams of a connection: calm",
  },
  maxWaitingTotalBytes: {
    value: 536_870_912,
    unit: "bytes",
    against: "answers that peers do not take, on all connections together: calm for the one with the most of them",
  },
  outputBytes: {
    value: 131_072,
    unit: "bytes",
    against: "frames that wait for the socket: bodies wait on their streams",
  },
  unreadOutputBytes: {
    value: 262_144,
    unit: "bytes",
    against: "PING and SETTINGS floods of a peer that does not read the acknowledgements: nothing more is read of it",
  },
  emptyFrames: {
    value: 1_000,
    unit: "frames at once",
    against:
      "floods of SETTINGS, PING, PRIORITY, empty DATA, WINDOW_UPDATE, unknown frames, and frames on closed streams: calm",
  },
  emptyFramesPerSecond: { value: 200, unit: "frames a second", against: "the same for as long as they like" },
  emptyFramesEarned: {
    value: 4,
    unit: "frames",
    against:
      "honest floods: each request, and each DATA frame of either side, allows so many more (BDP estimates, windows)",
  },
  earningBytes: {
    value: 1_024,
    unit: "bytes",
    against:
      "data dribble (CVE-2019-9511): of a longer body, a DATA frame that a small window makes shorter earns nothing",
  },
  lateFrameBytes: {
    value: 1_024,
    unit: "bytes",
    against:
      "small DATA on streams that were reset: counts as a frame that carries nothing; more may be on its way honestly",
  },
  resets: {
    value: 1_000,
    unit: "streams at once",
    against:
      "rapid reset (CVE-2023-44487), MadeYouReset (CVE-2025-8671): streams that the peer resets, makes be reset by its errors, or opens beyond maxConcurrentStreams: calm",
  },
  resetsPerSecond: { value: 33, unit: "streams a second", against: "the same for as long as they like" },
  rememberedResets: {
    value: 1_000,
    unit: "streams",
    against: "errors for honest peers: frames that were on their way when their stream was reset here are ignored",
  },
  stallTimeoutMs: {
    value: 300_000,
    unit: "ms",
    against: "a stream that waits for its window without end: reset with CANCEL",
  },
  prefaceTimeoutMs: {
    value: 20_000,
    unit: "ms",
    against: "connections that do not begin: preface and SETTINGS, and header blocks that do not end: destroyed",
  },
  drainGraceMs: { value: 500, unit: "ms", against: "peers that do not answer the PING which follows the first GOAWAY" },
  lingerMs: {
    value: 1_000,
    unit: "ms",
    against: "peers that do not close their side when the last byte has been sent",
  },
} as const satisfies Readonly<Record<string, Limit>>;

/** What a peer may send on a new stream, in bytes. */
export function firstWindowOf({ firstWindowBytes, streamWindowBytes }: Bounds): number {
  return Math.min(firstWindowBytes, streamWindowBytes);
}

/** The values of {@link table}. */
export type Bounds = { readonly [name in keyof typeof table]: number };

export const defaultBounds = Object.fromEntries(
  Object.entries(table).map(([name, { value }]) => [name, value]),
) as unknown as Bounds;
