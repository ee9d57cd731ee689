import { Ajv2020, type AnySchema } from "ajv/dist/2020.js";

/** Lists what does not fit a schema; none when all does. */
export type Compare = (schema: object, value: unknown) => string[];

/**
 * Compares values with schemas of an OpenAPI or AsyncAPI document, to which their references lead. A field that the
 * document does not have does not fit, though a client has to ignore it.
 */
export function schemasOf(document: { readonly components: { readonly schemas: object } }): Compare {
  const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
  const closed = close({ $defs: document.components.schemas });
  ajv.addSchema({ ...closed, $id: "document" });
  return (schema, value) => {
    const validate = ajv.compile(close(schema) as AnySchema);
    validate(value);
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  };
}

/** A schema whose objects have no other fields than it says, with references to `document`. */
function close(schema: object): object {
  return JSON.parse(
    JSON.stringify(schema).replaceAll("#/components/schemas/", "document#/$defs/"),
    (_, value: unknown) => {
      const isObjectSchema = typeof value === "object" && value !== null && "properties" in value && "type" in value;
      return isObjectSchema && value.type === "object" ? { additionalProperties: false, ...value } : value;
    },
  );
}
