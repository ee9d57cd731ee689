import { randomUUID } from "node:crypto";

/** What is read of a bill of materials of npm. */
interface Bill {
  readonly metadata: { readonly component: object };
  readonly components: readonly { readonly name: string; readonly version: string; readonly "bom-ref": string }[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

/** What the client has code of in it. */
const inClient = /^@(bufbuild\/protobuf|connectrpc\/connect(-node|-web)?)$/;

/**
 * The bills of materials of the packages, in CycloneDX.
 *
 * @param ofProject that of the project with everything, as `npm sbom` prints it: asked to leave out what is for
 * development, it leaves out also what is for both.
 * @param dependencies of the service, by name.
 */
export function toBillsOfMaterials(
  ofProject: string,
  version: string,
  dependencies: Readonly<Record<string, string>>,
): Record<"mustreach" | "mustreach-client", object> {
  const all: Bill = JSON.parse(ofProject);
  const bill = (name: string, direct: readonly string[], refs: ReadonlySet<string>) => ({
    ...all,
    serialNumber: `urn:uuid:${randomUUID()}`,
    metadata: {
      ...all.metadata,
      component: {
        ...all.metadata.component,
        name,
        "bom-ref": `${name}@${version}`,
        purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
        // That of the checkout says that it is private.
        properties: [],
      },
    },
    components: all.components.filter((part) => refs.has(part["bom-ref"])),
    dependencies: [
      { ref: `${name}@${version}`, dependsOn: direct },
      ...all.dependencies.filter(({ ref }) => refs.has(ref)),
    ],
  });

  const direct = all.components
    .filter((part) => dependencies[part.name] === part.version)
    .map((part) => part["bom-ref"]);
  const bundled = all.components.filter(({ name }) => inClient.test(name)).map((part) => part["bom-ref"]);
  return {
    mustreach: bill("mustreach", direct, withTheirs(all, direct)),
    "mustreach-client": bill("@mustreach/client", bundled, new Set(bundled)),
  };
}

/** Parts, and all that they depend on. */
function withTheirs({ dependencies }: Bill, refs: readonly string[]): ReadonlySet<string> {
  const reached = new Set(refs);
  for (const ref of reached) {
    for (const next of dependencies.find((part) => part.ref === ref)?.dependsOn ?? []) reached.add(next);
  }
  return reached;
}
