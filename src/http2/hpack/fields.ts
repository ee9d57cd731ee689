/**
 * Header fields as they go over the wire: names and their values, in turns. Each character is a byte (latin1): bytes above
 * 0x7f ("obs-text", RFC 9110, 5.5) stand as U+0080 to U+00FF, whatever the peer meant by them.
 */
export type Fields = readonly string[];

/** The fields of a header block: the same object for the same block as long as the table has not changed. */
export interface DecodedFields {
  /** As they came: their names and values are not checked, and there may be none. */
  readonly list: Fields;
  /**
   * By name. Those of one name are joined by ", ", of `cookie` by "; "; of a field that there can be once, such as
   * `authorization`, the first counts. A `host` without an `:authority` stands as both. Made
   * when it is first asked for, without a prototype, not to be changed.
   */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** The size of the list (RFC 9113, 6.5.2): the bytes of names and values, and 32 for each field. */
  readonly size: number;
  /**
   * Whether that is over the limit. `list` then ends before the field that went over it; the table is in step with the
   * peer's, so that the connection can go on.
   */
  readonly isTooLarge: boolean;
  /** What who reads the fields has made of them, for the next time that they come. */
  note: unknown;
}

/** What a decoder holds at most. */
export interface DecoderLimits {
  /** The limit of the table in bytes: 4,096 at the start of a connection. */
  readonly maxTableSize: number;
  /** SETTINGS_MAX_HEADER_LIST_SIZE: of one block, in bytes as in {@link DecodedFields.size}. */
  readonly maxListSize: number;
}

/** Reads the header blocks of one connection, in the order in which they came, trailers and refused requests too. */
export interface Decoder {
  /**
   * @param block a whole one: the fragments of HEADERS and its CONTINUATIONs. Not kept.
   * @throws {CompressionError}, and no other; then the decoder is not to be used any more.
   */
  decode(block: Uint8Array): DecodedFields;
  /**
   * Takes another SETTINGS_HEADER_TABLE_SIZE, in bytes: when the peer has acknowledged it. If the table is larger, the next
   * block has to begin by lowering it.
   */
  setMaxTableSize(size: number): void;
}
