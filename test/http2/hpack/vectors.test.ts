import { describe, expect, test } from "vitest";
import { createDecoder } from "../../../src/http2/hpack/decoder.ts";
import type { Decoder } from "../../../src/http2/hpack/fields.ts";
import { toInteger } from "../../helpers/hpack.ts";

/** RFC 7541, appendix C: blocks of one connection, each with the list that it is, and the table after it. */
interface Vector {
  readonly maxTableSize: number;
  readonly blocks: readonly (readonly [hex: string, list: string, table: string])[];
}

const date21 = "Mon, 21 Oct 2013 20:13:21 GMT";
const date22 = "Mon, 21 Oct 2013 20:13:22 GMT";
const cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
const site = "https://www.example.com";

const requests: readonly (readonly [list: string, table: string])[] = [
  [":method GET|:scheme http|:path /|:authority www.example.com", ":authority www.example.com"],
  [
    ":method GET|:scheme http|:path /|:authority www.example.com|cache-control no-cache",
    "cache-control no-cache|:authority www.example.com",
  ],
  [
    ":method GET|:scheme https|:path /index.html|:authority www.example.com|custom-key custom-value",
    "custom-key custom-value|cache-control no-cache|:authority www.example.com",
  ],
];

const responses: readonly (readonly [list: string, table: string])[] = [
  [
    `:status 302|cache-control private|date ${date21}|location ${site}`,
    `location ${site}|date ${date21}|cache-control private|:status 302`,
  ],
  [
    `:status 307|cache-control private|date ${date21}|location ${site}`,
    `:status 307|location ${site}|date ${date21}|cache-control private`,
  ],
  [
    `:status 200|cache-control private|date ${date22}|location ${site}|content-encoding gzip|set-cookie ${cookie}`,
    `set-cookie ${cookie}|content-encoding gzip|date ${date22}`,
  ],
];

const vectors: Readonly<Record<string, Vector>> = {
  "C.2.1, a literal with indexing": {
    maxTableSize: 4_096,
    blocks: [
      [
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        "custom-key custom-header",
        "custom-key custom-header",
      ],
    ],
  },
  "C.2.2, a literal without indexing": {
    maxTableSize: 4_096,
    blocks: [["040c 2f73 616d 706c 652f 7061 7468", ":path /sample/path", ""]],
  },
  "C.2.3, a literal that is never indexed": {
    maxTableSize: 4_096,
    blocks: [["1008 7061 7373 776f 7264 0673 6563 7265 74", "password secret", ""]],
  },
  "C.2.4, an indexed field": { maxTableSize: 4_096, blocks: [["82", ":method GET", ""]] },
  "C.3, requests": {
    maxTableSize: 4_096,
    blocks: withLists(requests, [
      "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
      "8286 84be 5808 6e6f 2d63 6163 6865",
      "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]),
  },
  "C.4, requests in Huffman code": {
    maxTableSize: 4_096,
    blocks: withLists(requests, [
      "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
      "8286 84be 5886 a8eb 1064 9cbf",
      "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]),
  },
  "C.5, responses, with eviction": {
    maxTableSize: 256,
    blocks: withLists(responses, [
      `4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
       2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
      "4803 3330 37c1 c0bf",
      `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d
       54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049
       5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31`,
    ]),
  },
  "C.6, responses in Huffman code, with eviction": {
    maxTableSize: 256,
    blocks: withLists(responses, [
      `4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
       2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3`,
      "4883 640e ffc1 c0bf",
      `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
       77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f
       9587 3160 65c0 03ed 4ee5 b106 3d50 07`,
    ]),
  },
};

describe("RFC 7541, appendix C", () => {
  test.each(Object.entries(vectors))("%s", (_, { maxTableSize, blocks }) => {
    const decoder = createDecoder({ maxTableSize, maxListSize: 16_384 });
    for (const [hex, list, table] of blocks) {
      expect(decoder.decode(Buffer.from(hex.replace(/\s/g, ""), "hex")).list).toEqual(split(list));
      const entries = split(table);
      expect(readTable(decoder, entries.length / 2)).toEqual(entries);
    }
  });
});

/** The newest entries of the table: what its indexes mean. */
function readTable(decoder: Decoder, count: number): readonly string[] {
  const indexes = Array.from({ length: count }, (_, at) => toInteger(0x80, 7, 62 + at));
  return decoder.decode(Buffer.concat(indexes)).list;
}

function split(list: string): string[] {
  const fields = list === "" ? [] : list.split("|");
  return fields.flatMap((field) => [field.slice(0, field.indexOf(" ")), field.slice(field.indexOf(" ") + 1)]);
}

function withLists(lists: readonly (readonly [string, string])[], hexes: readonly string[]): Vector["blocks"] {
  return hexes.map((hex, at) => [hex, ...(lists[at] ?? ["", ""])] as const);
}
