import { createContextKey } from "@connectrpc/connect";

/** The keys of a REST call's body that are no fields: ignored, as OpenIM has it, but logged. */
export const unknownFieldsKey = createContextKey<readonly string[]>([]);
