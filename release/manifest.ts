import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** The checkout. */
export const root = resolve(import.meta.dirname, "..");

/** What package.json says of all packages: their version, licence and dependencies stand there and nowhere else. */
export const project: {
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly keywords: readonly string[];
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
} = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const { version, license, keywords } = project;

/** The oldest version of a dependency that is known to do, and what is compatible with it. */
const range = (name: string) => `^${project.dependencies[name]}`;

/** The package.json of `@mustreach/client`. */
export const clientManifest = {
  name: "@mustreach/client",
  version,
  description: "Receive and send Mustreach's business notifications, in Node and in browsers",
  keywords,
  license,
  type: "module",
  sideEffects: false,
  engines: { node: ">=20" },
  exports: {
    ".": { types: "./types/client/index.d.ts", node: "./node/index.js", default: "./browser/index.js" },
    "./gen/*.js": { types: "./gen/*.d.ts", default: "./gen/*.js" },
    "./package.json": "./package.json",
  },
  // What is in gen/ is for who has them.
  peerDependencies: {
    "@bufbuild/protobuf": range("@bufbuild/protobuf"),
    "@connectrpc/connect": range("@connectrpc/connect"),
  },
  peerDependenciesMeta: { "@bufbuild/protobuf": { optional: true }, "@connectrpc/connect": { optional: true } },
  publishConfig: { access: "public" },
};

/** The package.json of `mustreach`. */
export const serviceManifest = {
  name: "mustreach",
  version,
  description: project.description,
  keywords,
  license,
  type: "module",
  engines: { node: ">=24.2" },
  bin: { mustreach: "mustreach.js" },
  exports: {
    "./client": { types: "./dist/client/index.d.ts", default: "./dist/client/index.js" },
    "./testing": { types: "./dist/testing/index.d.ts", default: "./dist/testing/index.js" },
    "./package.json": "./package.json",
  },
  imports: {
    "#client/receiving": { node: "./dist/client/node/receiving.js", default: "./dist/client/web/receiving.js" },
  },
  dependencies: project.dependencies,
};
