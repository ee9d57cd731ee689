import { execFileSync } from "node:child_process";
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { base64Encode } from "@bufbuild/protobuf/wire";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { type Plugin, rolldown } from "rolldown";
import { copyDeclarations, copyJavaScript } from "./declarations.ts";
import { clientManifest, project, root, serviceManifest } from "./manifest.ts";

/**
 * `npm run build`: makes the packages that npm gets, each a folder: `client` (`@mustreach/client`) and `mustreach` (the
 * service, its command line, its test server).
 *
 * @param dist where. What is in these folders is removed. Default `dist`.
 */
export async function build(dist = join(root, "dist")): Promise<void> {
  mkdirSync(join(root, ".cache"), { recursive: true });
  const scratch = mkdtempSync(join(root, ".cache", "build-"));
  try {
    await buildClient(join(scratch, "client"), emptied(join(dist, "client")));
    buildService(join(scratch, "service"), emptied(join(dist, "mustreach")));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The stored form of the service is nobody else's. */
const isPublic = (path: string) => !path.startsWith("gen/mustreach/store/");

/**
 * The client is two bundles, with what they need of Connect and protobuf in them: it installs nothing else, and asks
 * for no later Node than it needs itself.
 */
async function buildClient(compiled: string, to: string): Promise<void> {
  compile("client", compiled);
  await bundle("node", join(to, "node"));
  await bundle("browser", join(to, "browser"));
  copyDeclarations(compiled, join(to, "types"), ["client/index.d.ts"]);
  const generated = globSync("gen/**/*.js", { cwd: compiled }).filter(isPublic);
  for (const path of generated) {
    mkdirSync(join(to, path, ".."), { recursive: true });
    cpSync(join(compiled, path), join(to, path));
  }
  const types = generated.map((path) => path.replace(/\.js$/, ".d.ts"));
  copyDeclarations(compiled, to, types);
  writeManifest(to, clientManifest);
  cpSync(join(root, "LICENSE"), join(to, "LICENSE"));
  const [readme, notice] = ["client-readme.md", "client-notice.txt"].map((name) => join(root, "release", name));
  cpSync(readme ?? "", join(to, "README.md"));
  const versions = ["@bufbuild/protobuf", "@connectrpc/connect"].map((name) => `${name} ${project.dependencies[name]}`);
  writeFileSync(join(to, "NOTICE"), readFileSync(notice ?? "", "utf8").replace("VERSIONS", versions.join(", ")));
}

async function bundle(platform: "node" | "browser", dir: string): Promise<void> {
  const input = join(root, "src/client/index.ts");
  const build = await rolldown({ input, platform, logLevel: "warn", cwd: root, plugins: [withoutRules] });
  await build.write({ dir, format: "esm", chunkFileNames: "[name].js", comments: { legal: true, jsdoc: false } });
  await build.close();
}

/** The contract refers to the rules of `buf.validate`, which the client does not look at: 85 KB, of which the name does. */
const withoutRules: Plugin = {
  name: "without-rules",
  load: {
    filter: { id: /gen\/buf\/validate\/validate_pb\.ts$/ },
    handler: () => {
      const file = create(FileDescriptorProtoSchema, { name: "buf/validate/validate.proto", package: "buf.validate" });
      const base64 = base64Encode(toBinary(FileDescriptorProtoSchema, file));
      return `import { fileDesc } from "@bufbuild/protobuf/codegenv2";
export const file_buf_validate_validate = /*@__PURE__*/ fileDesc("${base64}");`;
    },
  },
};

function buildService(compiled: string, to: string): void {
  compile("service", compiled);
  copyJavaScript(compiled, join(to, "dist"));
  copyDeclarations(compiled, join(to, "dist"), ["client/index.d.ts", "testing/index.d.ts"]);
  const assets = globSync("*/**/*.*", { cwd: join(root, "src") }).filter((path) => !path.endsWith(".ts"));
  for (const path of assets) cpSync(join(root, "src", path), join(to, "dist", path));
  cpSync(join(root, "release/mustreach.js"), join(to, "mustreach.js"));
  writeManifest(to, serviceManifest);
  for (const name of ["LICENSE", "README.md", "CHANGELOG.md", "proto", "docs"]) {
    cpSync(join(root, name), join(to, name), {
      recursive: true,
      filter: (path) => !/docs\/performance\/.*json$/.test(path),
    });
  }
}

/** Compiles by the settings beside this file. */
function compile(what: "client" | "service", outDir: string): void {
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const settings = join(root, "release", `tsconfig.${what}.json`);
  execFileSync(process.execPath, [tsc, "-p", settings, "--outDir", outDir], { stdio: "inherit" });
}

/** A folder with nothing in it. */
function emptied(dir: string): string {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  return dir;
}

function writeManifest(dir: string, manifest: object): void {
  writeFileSync(join(dir, "package.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
}

if (import.meta.main) await build();
