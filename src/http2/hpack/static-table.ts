/** The static table (RFC 7541, appendix A): a name with each of its values, in order; the first has index 1. */
const names: readonly (readonly [name: string, ...values: string[]])[] = [
  [":authority"],
  [":method", "GET", "POST"],
  [":path", "/", "/index.html"],
  [":scheme", "http", "https"],
  [":status", "200", "204", "206", "304", "400", "404", "500"],
  ["accept-charset"],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language"],
  ["accept-ranges"],
  ["accept"],
  ["access-control-allow-origin"],
  ["age"],
  ["allow"],
  ["authorization"],
  ["cache-control"],
  ["content-disposition"],
  ["content-encoding"],
  ["content-language"],
  ["content-length"],
  ["content-location"],
  ["content-range"],
  ["content-type"],
  ["cookie"],
  ["date"],
  ["etag"],
  ["expect"],
  ["expires"],
  ["from"],
  ["host"],
  ["if-match"],
  ["if-modified-since"],
  ["if-none-match"],
  ["if-range"],
  ["if-unmodified-since"],
  ["last-modified"],
  ["link"],
  ["location"],
  ["max-forwards"],
  ["proxy-authenticate"],
  ["proxy-authorization"],
  ["range"],
  ["referer"],
  ["refresh"],
  ["retry-after"],
  ["server"],
  ["set-cookie"],
  ["strict-transport-security"],
  ["transfer-encoding"],
  ["user-agent"],
  ["vary"],
  ["via"],
  ["www-authenticate"],
];

/** Entries of the static table, by index; there is no index 0. */
export const staticNames: readonly string[] = [
  "",
  ...names.flatMap(([name, ...values]) => (values.length > 0 ? values.map(() => name) : [name])),
];
export const staticValues: readonly string[] = [
  "",
  ...names.flatMap(([, ...values]) => (values.length > 0 ? values : [""])),
];

/** Where the entries of a name stand in the static table. */
export interface StaticName {
  /** The first of them. */
  readonly index: number;
  /** By value. */
  readonly values: ReadonlyMap<string, number>;
}

export const staticEntries: ReadonlyMap<string, StaticName> = new Map(
  names.map(([name]) => {
    const index = staticNames.indexOf(name);
    const of = staticNames.flatMap((other, at): [string, number][] =>
      other === name ? [[staticValues[at] ?? "", at]] : [],
    );
    return [name, { index, values: new Map(of) }];
  }),
);
