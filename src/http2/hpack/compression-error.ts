/**
 * A header block against RFC 7541. The table is no longer what the peer believes it to be: the connection has to be closed
 * with COMPRESSION_ERROR (RFC 9113, 4.3).
 */
export class CompressionError extends Error {
  override readonly name = "CompressionError";
}
