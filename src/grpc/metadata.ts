/** Fields that are the protocol's, and HTTP's, and no metadata of an application. */
const reserved: ReadonlySet<string> = new Set([
  ...["connection", "content-encoding", "content-length", "content-type", "date", "host", "keep-alive"],
  ...["proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"],
]);

/**
 * Appends metadata of an application to header fields or trailers. What is the protocol's is left out, and so is what
 * gRPC cannot carry: its values are printable ASCII. Binary values, whose names end with `-bin`, are base64 here already.
 */
export function pushMetadata(fields: string[], metadata: Headers): void {
  for (const [name, value] of metadata) {
    if (reserved.has(name) || name.startsWith("grpc-") || !/^[\x20-\x7e]*$/.test(value)) continue;
    fields.push(name, value);
  }
}
