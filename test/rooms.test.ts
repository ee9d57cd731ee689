import { readdirSync, readFileSync } from "node:fs";
import { join, posix, resolve, sep } from "node:path";
import { describe, expect, test } from "vitest";

/**
 * The rooms of the house, from the roof down. A file may import from its own room and from floors below; rooms on one
 * floor do not know each other.
 */
const floors: readonly (readonly string[])[] = [
  ["main"],
  ["try-it"],
  ["server"],
  ["workers"],
  ["jobs", "serving"],
  ["foundation"],
  ["doors", "openim", "store"],
  ["store-bounds"],
  ["doors/events", "openim/wire"],
  ["openapi"],
  ["calls", "sending", "receiving", "reaching"],
  ["traffic", "collapsing"],
  ["live"],
  ["groups", "chat", "recalling", "receiving/feed", "reporting", "tickets"],
  ["cursors"],
  ["inbox", "auth", "websocket", "console", "broker-metrics"],
  [
    "embedded",
    "http",
    "grpc",
    "grpc-health",
    "grpc-reflection",
    "publishing",
    "webhook",
    "broker/consumers",
    "broker/inspection",
    "broker/snapshots",
  ],
  ["broker/reads"],
  ["admission", "broker", "observe"],
  ["jwks", "senders", "service-manager", "tracing"],
  ["addressing", "data-dir", "decode-stored", "end-of-turn", "in-flight", "json", "limits", "rate-limit", "refusals"],
  ["config", "errors"],
  [
    "answers",
    "clock",
    "deadline",
    "http2/engine",
    "timer-wheel",
    "tls",
    "trusted-proxies",
    "version",
    "young-generation",
  ],
  // That of HTTP could be a package of its own.
  ["gen", "http2"],
  ["http2/frames"],
  ["http2/hpack"],
];

/** Rooms beside the house: what each may import besides itself. */
const annexes: Readonly<Record<string, readonly string[]>> = {
  cli: [
    "cli/admin",
    "senders",
    "backup",
    "doctor",
    "observe",
    "client",
    "client/connect",
    "client/wire",
    "main",
    "server",
    "auth",
    "config",
    "version",
    "gen",
    "verify",
    "verify/own",
  ],
  // What the broker keeps, into a directory and back.
  backup: ["broker", "broker/snapshots", "config", "embedded", "limits", "version"],
  doctor: [
    "broker",
    "broker/consumers",
    "broker/inspection",
    "config",
    "limits",
    "observe",
    "store",
    "store-bounds",
    "version",
  ],
  "cli/admin": ["cli", "client", "client/connect", "client/wire", "auth", "gen"],
  client: ["client/tabs", "client/wire", "gen"],
  // Connect and protobuf: the way in Node, and with a transport.
  "client/connect": ["client/wire", "gen"],
  // What is another thing in a browser: it is imported by condition (package.json), and never by its path.
  "client/node": ["client/connect", "client/wire", "gen"],
  "client/tabs": ["client/wire", "gen"],
  "client/web": ["client/connect", "client/wire", "gen"],
  "client/wire": ["gen"],
  // Runs in a browser, as it is.
  "console/page": [],
  // A service for the tests of who uses it, in their process.
  testing: ["client", "server", "auth", "clock", "config", "observe"],
  // Runs before anything is installed.
  setup: [],
  // Sends and receives as others do, and proves who got what.
  verify: ["client/wire", "client/connect", "gen", "verify/callers", "verify/check", "verify/doors"],
  "verify/callers": ["client/wire", "gen", "verify", "verify/check", "verify/doors"],
  // A file system that fails.
  "verify/disk": ["verify"],
  "verify/check": [],
  "verify/doors": ["client/connect", "client/node", "client/web", "client/wire", "gen", "openim/wire"],
  // A program that receives from the broker itself.
  "verify/native": ["client/wire", "gen", "inbox", "verify/doors"],
  // Instances and brokers that it breaks.
  "verify/versions": ["gen", "verify"],
  "verify/own": ["auth", "broker", "embedded", "verify", "verify/disk", "verify/native", "verify/versions", "version"],
};

const maxLines = 300;
/** Lists, in which one looks something up, may be longer. */
const longerLists: Readonly<Record<string, number>> = { "config.ts": 620 };
/** A room past this is asking to be two. */
const roomLimit = { files: 14, lines: 2_000 };
const vagueNames = /^(utils?|types?|commons?|helpers?)$/;
/** What the subjects of the broker begin with, and its own interfaces. */
const subject =
  /["'`](?:(?:inbox|live|sent|recalled|collapse|push|group|joined|fanout|schedule|due|chat|conversation|escalation|retry|dead|later|look|session|epoch|marker|ticket|report|reported|report_later|report_look|report_turn|report_place)\.|\$(?:JS|SYS|KV)\.)/;

test("every file of src imports in the direction of the house", () => {
  const tree = readTree(resolve(import.meta.dirname, "..", "src"));
  expect(tree.has("server.ts")).toBe(true);
  expect(inspectHouse(tree)).toEqual([]);
});

test("no room of src has grown, and its files import one way", () => {
  expect(inspectRooms(readTree(resolve(import.meta.dirname, "..", "src")))).toEqual([]);
});

describe("the inspection of rooms finds", () => {
  const files = (count: number, lines: number) =>
    Array.from({ length: count }, (_, i): [string, string] => [`inbox/f${i}.ts`, "\n".repeat(lines)]);

  test("a room of too many files, or of too many lines", () => {
    expect(inspectRooms(new Map(files(15, 1)))).toEqual(["inbox: 15 files and 15 lines, at most 14 and 2000"]);
    expect(inspectRooms(new Map(files(9, 250)))).toEqual(["inbox: 9 files and 2250 lines, at most 14 and 2000"]);
    expect(inspectRooms(new Map(files(14, 100)))).toEqual([]);
  });

  test("files that import each other, in however many steps", () => {
    const tree = new Map([
      ["inbox/a.ts", 'import { b } from "./b.ts";'],
      ["inbox/b.ts", 'import type { C } from "./c.ts";\nimport { d } from "../broker/d.ts";'],
      ["inbox/c.ts", 'import { a } from "./a.ts";'],
      ["broker/d.ts", ""],
    ]);
    expect(inspectRooms(tree)).toEqual(["inbox/a.ts → inbox/b.ts → inbox/c.ts → inbox/a.ts: a circle"]);
  });
});

describe("the inspection finds", () => {
  test.each<[what: string, path: string, source: string, found: string]>([
    ["an import upwards", "auth/token.ts", 'import { a } from "../server.ts";', "auth must not import server"],
    [
      "an import next door",
      "sending/send.ts",
      'import { a } from "../receiving/hub.ts";',
      "sending must not import receiving",
    ],
    [
      "a type from above",
      "broker/read.ts",
      'import type { A } from "../inbox/read.ts";',
      "broker must not import inbox",
    ],
    ["a re-export from above", "gen/a.ts", 'export * from "../errors.ts";', "gen must not import errors"],
    ["an import for its effect", "errors.ts", 'import "./main.ts";', "errors must not import main"],
    ["a late import", "config.ts", 'const a = await import("./server.ts");', "config must not import server"],
    ["the type of a module", "config.ts", 'let a: typeof import("./server.ts");', "config must not import server"],
    [
      "an import over several lines",
      "auth/a.ts",
      'import {\n  a,\n  type B,\n} from\n  "../doors/rest.ts";',
      "auth must not import doors",
    ],
    ["the command line in the service", "main.ts", 'import { a } from "./cli/a.ts";', "main must not import cli"],
    ["the service in the client", "client/a.ts", 'import { a } from "../errors.ts";', "client must not import errors"],
    ["the broker in the command line", "cli/a.ts", 'import { a } from "../broker/a.ts";', "cli must not import broker"],
    [
      "the client's room of Node by its path",
      "client/a.ts",
      'import "./node/a.ts";',
      "client must not import client/node",
    ],
    ["Node in the client", "client/a.ts", 'import { a } from "node:fs";', "client must not import node:fs"],
    ["Node's transport in the client", "client/a.ts", 'import "@connectrpc/connect-node";', "client must not import"],
    [
      "a NATS package elsewhere",
      "chat/a.ts",
      'import { a } from "@nats-io/jetstream";',
      "only broker imports @nats-io",
    ],
    ["an import from outside", "auth/a.ts", 'import { a } from "../../test/a.ts";', "auth must not leave src"],
    ["an API subject elsewhere", "broker/a.ts", 'const a = "$JS.API.INFO";', "a subject is built in layout.ts"],
    ["a vague name", "auth/utils.ts", "", "utils says nothing"],
    ["a vague room", "chat/helpers/a.ts", "", "helpers says nothing"],
    ["a long file", "auth/a.ts", "\n".repeat(301), "is longer than 300 lines"],
    ["a room without a place", "shop/a.ts", "", "shop has no place in the house"],
    ["a room without a place, from below", "auth/a.ts", 'import "../shop/a.ts";', "auth must not import shop"],
  ])("%s", (_, path, source, found) => {
    const [violation, ...more] = inspectHouse(new Map([[path, source]]));
    expect(violation).toContain(found);
    expect(violation).toContain(path);
    expect(more).toEqual([]);
  });

  test("nothing in a tree that keeps the rules", () => {
    const tree = new Map([
      ["main.ts", 'import { a } from "./server.ts";\nimport { readFile } from "node:fs/promises";'],
      ["server.ts", 'import { a } from "./broker/connect.ts";\nimport { b } from "./sending/send.ts";'],
      [
        "sending/send.ts",
        '// import { a } from "../server.ts";\nimport { toFile } from "./ids.ts";\nconst a = from("x");',
      ],
      ["broker/connect.ts", 'import { connect } from "@nats-io/transport-node";\n/** `live.<p>.<user>.push` */'],
      ["live/layout.ts", "export const a = `live.1.push`;"],
      ["client/index.ts", 'export { a } from "./a.ts";\nimport { b } from "@connectrpc/connect-web";'],
      ["client/node/a.ts", 'import { c } from "#client/c";\nimport "node:http2";'],
      ["cli/serve.ts", 'import { a } from "../main.ts";\nconst text = "import it from \'../broker/a.ts\'";'],
      ["gen/long_pb.ts", "\n".repeat(5_000)],
    ]);
    expect(inspectHouse(tree)).toEqual([]);
  });
});

/** What is against the rules in a tree of sources, by path below src. */
function inspectHouse(tree: ReadonlyMap<string, string>): string[] {
  const violations: string[] = [];
  for (const [path, source] of tree) {
    const violate = (what: string) => violations.push(`${path}: ${what}`);
    const room = roomOf(path);
    const code = withoutComments(source);
    if (floorOf(room) === -1 && annexes[room] === undefined) violate(`${room} has no place in the house`);
    for (const specifier of importsOf(code)) {
      const wrong = specifier.startsWith(".") ? judgeFile(path, specifier) : judgePackage(room, specifier);
      if (wrong !== undefined) violate(wrong);
    }
    const isLayout = path === `${room}/layout.ts` || path === "broker/subjects.ts";
    if (!isLayout && room !== "gen" && subject.test(code)) {
      violate("a subject is built in layout.ts of its room only");
    }
    for (const name of path.replace(/\.m?ts$|\.mjs$/, "").split("/")) {
      if (vagueNames.test(name)) violate(`${name} says nothing`);
    }
    const limit = longerLists[path] ?? maxLines;
    if (room !== "gen" && source.split("\n").length - 1 > limit) violate(`is longer than ${limit} lines`);
  }
  return violations;
}

/** Which rooms are too large, and which files import each other. */
function inspectRooms(tree: ReadonlyMap<string, string>): string[] {
  const violations: string[] = [];
  const rooms = Map.groupBy(
    [...tree].filter(([path]) => path.includes("/") && roomOf(path) !== "gen"),
    ([path]) => roomOf(path),
  );
  for (const [room, files] of rooms) {
    const lines = files.reduce((sum, [, source]) => sum + source.split("\n").length - 1, 0);
    if (files.length > roomLimit.files || lines > roomLimit.lines) {
      violations.push(
        `${room}: ${files.length} files and ${lines} lines, at most ${roomLimit.files} and ${roomLimit.lines}`,
      );
    }
  }
  const visited = new Set<string>();
  const visit = (path: string, way: readonly string[]): void => {
    const since = way.indexOf(path);
    if (since !== -1) violations.push(`${[...way.slice(since), path].join(" → ")}: a circle`);
    if (since !== -1 || visited.has(path)) return;
    visited.add(path);
    for (const specifier of importsOf(withoutComments(tree.get(path) ?? ""))) {
      const target = posix.join(posix.dirname(path), specifier);
      if (specifier.startsWith(".") && tree.has(target)) visit(target, [...way, path]);
    }
  };
  for (const path of tree.keys()) if (roomOf(path) !== "gen") visit(path, []);
  return violations;
}

function judgeFile(path: string, specifier: string): string | undefined {
  const room = roomOf(path);
  const target = posix.join(posix.dirname(path), specifier);
  if (target.startsWith("../")) return `${room} must not leave src (${specifier})`;
  const targetRoom = roomOf(target);
  if (targetRoom === room) return undefined;
  const allowed = annexes[room]?.includes(targetRoom) ?? floorOf(targetRoom) > floorOf(room);
  return allowed ? undefined : `${room} must not import ${targetRoom} (${specifier})`;
}

function judgePackage(room: string, specifier: string): string | undefined {
  const isOfBroker = room.split("/")[0] === "broker" || room === "verify/native";
  if (specifier.startsWith("@nats-io/") && !isOfBroker) {
    return `only broker imports @nats-io (${specifier})`;
  }
  // It runs in browsers, but for the room of Node.
  const browserSafe = /^(@connectrpc\/connect(-web)?|@bufbuild\/protobuf|#client)(\/|$)/;
  if (room.startsWith("client") && room !== "client/node" && !browserSafe.test(specifier))
    return `client must not import ${specifier}`;
  return undefined;
}

/** `sending/send.ts` → `sending`, `client/tabs/share.ts` → `client/tabs`, `server.ts` → `server` */
function roomOf(path: string): string {
  const rooms = [...Object.keys(annexes), ...floors.flat()];
  const inner = rooms.find((room) => room.includes("/") && path.startsWith(`${room}/`));
  if (inner !== undefined) return inner;
  return path.split("/")[0]?.replace(/\.m?[jt]s$/, "") ?? path;
}

function floorOf(room: string): number {
  return floors.findIndex((rooms) => rooms.includes(room));
}

/** Every module that a source names: imports, exports from, imports for effect, late ones, and types of modules. */
function importsOf(code: string): string[] {
  const fromClause = /^\s*(?:import|export)\b[\w\s{},*$]*?\bfrom\s*["']([^"'\n]+)["']/gm;
  const effect = /^\s*import\s*["']([^"'\n]+)["']/gm;
  const call = /\bimport\(\s*["']([^"'\n]+)["']/g;
  return [fromClause, effect, call].flatMap((pattern) =>
    [...code.matchAll(pattern)].map(([, specifier = ""]) => specifier),
  );
}

function withoutComments(source: string): string {
  const stringOrComment = /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`|\/\/[^\n]*|\/\*[\s\S]*?\*\//g;
  return source.replace(stringOrComment, (text) => (text.startsWith("/") ? "" : text));
}

function readTree(dir: string): Map<string, string> {
  const files = readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((path) => /\.m?[jt]s$/.test(path));
  return new Map(files.map((path) => [path.split(sep).join("/"), readFileSync(join(dir, path), "utf8")]));
}
