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
  ["transport"],
  ["msg", "delivery"],
  ["directory"],
  ["auth", "nats", "observe"],
  ["data-dir", "limits", "rate-limit"],
  ["config", "errors"],
  ["gen"],
];

/** Rooms beside the house: what each may import besides itself. */
const annexes: Readonly<Record<string, readonly string[]>> = {
  cli: ["client", "main", "server", "auth", "config", "gen"],
  client: ["gen"],
  // Runs before anything is installed.
  setup: [],
};

const maxLines = 300;
/** Lists, in which one looks something up, may be longer. */
const longerLists: Readonly<Record<string, number>> = { "config.ts": 450, "nats/subjects.ts": 500 };
const vagueNames = /^(utils?|types?|commons?|helpers?)$/;
/** What the subjects of the broker begin with, and its own interfaces. */
const subject =
  /["'`](?:(?:inbox|live|sent|recalled|push|group|joined|fanout|schedule|due|chat|conversation|escalation|retry|dead|later|look|session|epoch|marker)\.|\$(?:JS|SYS|KV)\.)/;

test("every file of src imports in the direction of the house", () => {
  const tree = readTree(resolve(import.meta.dirname, "..", "src"));
  expect(tree.has("server.ts")).toBe(true);
  expect(inspectHouse(tree)).toEqual([]);
});

describe("the inspection finds", () => {
  test.each<[what: string, path: string, source: string, found: string]>([
    ["an import upwards", "auth/token.ts", 'import { a } from "../server.ts";', "auth must not import server"],
    ["an import next door", "msg/send.ts", 'import { a } from "../delivery/hub.ts";', "msg must not import delivery"],
    ["a type from above", "nats/inbox.ts", 'import type { A } from "../msg/send.ts";', "nats must not import msg"],
    ["a re-export from above", "gen/a.ts", 'export * from "../errors.ts";', "gen must not import errors"],
    ["an import for its effect", "errors.ts", 'import "./main.ts";', "errors must not import main"],
    ["a late import", "config.ts", 'const a = await import("./server.ts");', "config must not import server"],
    ["the type of a module", "config.ts", 'let a: typeof import("./server.ts");', "config must not import server"],
    [
      "an import over several lines",
      "auth/a.ts",
      'import {\n  a,\n  type B,\n} from\n  "../transport/rest.ts";',
      "auth must not import transport",
    ],
    ["the command line in the service", "main.ts", 'import { a } from "./cli/a.ts";', "main must not import cli"],
    ["the service in the client", "client/a.ts", 'import { a } from "../errors.ts";', "client must not import errors"],
    ["the broker in the command line", "cli/a.ts", 'import { a } from "../nats/a.ts";', "cli must not import nats"],
    ["Node in the client", "client/a.ts", 'import { a } from "node:fs";', "client must not import node:fs"],
    ["Node's transport in the client", "client/a.ts", 'import "@connectrpc/connect-node";', "client must not import"],
    ["a NATS package elsewhere", "msg/a.ts", 'import { a } from "@nats-io/jetstream";', "only nats imports @nats-io"],
    ["an import from outside", "auth/a.ts", 'import { a } from "../../test/a.ts";', "auth must not leave src"],
    ["a subject elsewhere", "nats/inbox.ts", "const a = `inbox.1.*`;", "a subject is built in nats/subjects.ts"],
    ["an API subject elsewhere", "nats/a.ts", 'const a = "$JS.API.INFO";', "a subject is built in nats/subjects.ts"],
    ["a vague name", "auth/utils.ts", "", "utils says nothing"],
    ["a vague room", "msg/helpers/a.ts", "", "helpers says nothing"],
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
      ["msg/send.ts", '// import { a } from "../server.ts";\nimport { toFile } from "./ids.ts";\nconst a = from("x");'],
      ["nats/connect.ts", 'import { connect } from "@nats-io/transport-node";\n/** `live.<p>.<user>.push` */'],
      ["nats/subjects.ts", "export const a = `live.1.push`;"],
      ["client/index.ts", 'export { a } from "./a.ts";\nimport { b } from "@connectrpc/connect-web";'],
      ["cli/serve.ts", 'import { a } from "../main.ts";\nconst text = "import it from \'../nats/a.ts\'";'],
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
    if (path !== "nats/subjects.ts" && room !== "gen" && subject.test(code)) {
      violate("a subject is built in nats/subjects.ts only");
    }
    for (const name of path.replace(/\.m?ts$|\.mjs$/, "").split("/")) {
      if (vagueNames.test(name)) violate(`${name} says nothing`);
    }
    const limit = longerLists[path] ?? maxLines;
    if (room !== "gen" && source.split("\n").length - 1 > limit) violate(`is longer than ${limit} lines`);
  }
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
  if (specifier.startsWith("@nats-io/") && room !== "nats") return `only nats imports @nats-io (${specifier})`;
  // It runs in browsers.
  const browserSafe = /^(@connectrpc\/connect(-web)?|@bufbuild\/protobuf)(\/|$)/;
  if (room === "client" && !browserSafe.test(specifier)) return `client must not import ${specifier}`;
  return undefined;
}

/** `msg/send.ts` → `msg`, `server.ts` → `server` */
function roomOf(path: string): string {
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
