import { dirname, extname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { SendBusinessNotificationRequestSchema } from "../../gen/mustreach/msg/v1/msg_pb.ts";
import type { Installation } from "./versions.ts";

const descriptors = z.object({
  SendBusinessNotificationRequestSchema: z.object({ fields: z.array(z.object({ localName: z.string() })) }),
});

/**
 * Finds the fields of a send that this version has and an installation does not know, by the descriptors that were
 * generated for it, which are beside its program.
 *
 * @throws when it has none of the form of this version's.
 */
export async function findLacking({ program }: Pick<Installation, "program">): Promise<ReadonlySet<string>> {
  const generated = join(dirname(program), "gen/mustreach/msg/v1", `msg_pb${extname(program)}`);
  const theirs = descriptors.parse(await import(pathToFileURL(generated).href)).SendBusinessNotificationRequestSchema;
  const known = new Set(theirs.fields.map(({ localName }) => localName));
  const ours = SendBusinessNotificationRequestSchema.fields.map(({ localName }) => localName);
  return new Set(ours.filter((name) => !known.has(name)));
}
