import { globSync } from "node:fs";
import { resolve } from "node:path";
import type { DescField, DescMessage, DescMethod, DescService } from "@bufbuild/protobuf";
import { Validator } from "@seriousme/openapi-schema-validator";
import { expect, test } from "vitest";
import { accessOf } from "../../src/auth/caller.ts";
import { errorTable } from "../../src/errors.ts";
import { restPath } from "../../src/json/rest-path.ts";
import { commentOf } from "../../src/openapi/comments.ts";
import { examples } from "../../src/openapi/examples.ts";
import { isRequired, limitsOf } from "../../src/openapi/limits.ts";
import { toOpenApi } from "../../src/openapi/openapi.ts";
import { services } from "../../src/openapi/services.ts";
import { schemasOf } from "../helpers/schemas.ts";

const document = toOpenApi("http://127.0.0.1:10002");

/** The services of all generated code. */
async function generatedServices(): Promise<DescService[]> {
  const gen = resolve(import.meta.dirname, "../../src/gen");
  const files = globSync("mustreach/**/*_pb.ts", { cwd: gen });
  const modules: object[] = await Promise.all(files.map((file) => import(resolve(gen, file))));
  return modules
    .flatMap((module): unknown[] => Object.values(module))
    .filter(
      (value): value is DescService =>
        typeof value === "object" && value !== null && "kind" in value && value.kind === "service",
    );
}

test("it is an OpenAPI 3.1 document", async () => {
  const result = await new Validator().validate(structuredClone(document));
  expect(result).toEqual({ valid: true });
  expect(document.openapi).toMatch(/^3\.1\./);
});

test("it has each route of the contract and no other, the documented one first", async () => {
  const contract = await generatedServices();
  expect(new Set(services)).toEqual(new Set(contract.filter(({ methods }) => methods.some(isRoute))));
  const paths = contract.flatMap(({ methods }): readonly DescMethod[] => methods).flatMap((one) => restPath(one) ?? []);
  expect(Object.keys(document.paths).toSorted()).toEqual(paths.toSorted());
  expect(Object.keys(document.paths)[0]).toBe("/msg/send_business_notification");
});

const isRoute = (method: DescMethod) => restPath(method) !== undefined;

test("each reference leads to something", () => {
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path = ""]) => path);
  expect(references.length).toBeGreaterThan(100);
  for (const reference of new Set(references)) {
    const found = reference.split("/").reduce<unknown>((at, name) => Reflect.get(Object(at), name), document);
    expect(found, reference).toBeDefined();
  }
});

test("each route and each field is described in the words of the proto, and says who may call it", () => {
  for (const { methods } of services) {
    for (const method of methods) {
      const operation = document.paths[restPath(method) ?? ""]?.post;
      if (operation === undefined) continue;
      expect(operation.description, method.name).toBe(commentOf(method));
      expect(operation.summary, method.name).toMatch(/^[A-Z]/);
      expect(operation.security.length === 0, method.name).toBe(accessOf(method) === "anybody");
    }
  }
  for (const [name, { properties = {} }] of Object.entries(document.components.schemas)) {
    for (const [field, { description }] of Object.entries(properties)) {
      expect(description, `${name}.${field}`).toMatch(/\S/);
    }
  }
});

test("each rule has a word in the document, and each that a comment requires a rule", () => {
  const fields = new Map<string, DescField>();
  const visit = (desc: DescMessage): void => {
    for (const field of desc.fields) {
      const name = `${desc.typeName}.${field.name}`;
      if (fields.has(name)) continue;
      fields.set(name, field);
      if (field.message !== undefined) visit(field.message);
    }
  };
  for (const { methods } of services) for (const { input } of methods) visit(input);
  for (const [name, field] of fields) {
    expect(() => limitsOf(field)).not.toThrow();
    if (/\bRequired[.,;]/.test(commentOf(field))) expect(isRequired(field), name).toBe(true);
  }
  const { properties } = document.components.schemas["msg.v1.SendBusinessNotificationRequest"] ?? {};
  expect(properties?.key).toMatchObject({ type: "string", minLength: 1, maxLength: 1_024 });
});

test("what must be in a body is what its comments require", () => {
  const required = (name: string) => document.components.schemas[name]?.required;
  expect(required("msg.v1.SendBusinessNotificationRequest")).toEqual(["sendUserID", "key", "data"]);
  expect(required("directory.v1.CreateGroupRequest")).toEqual(["ownerUserID", "groupInfo"]);
  expect(required("msg.v1.GetDeliveryStatusRequest")).toBeUndefined();
});

test("each error has its code, name and meaning in it", () => {
  const { properties } = document.components.schemas.Error ?? {};
  expect(properties?.errCode?.enum?.toSorted()).toEqual(
    Object.values(errorTable)
      .map(({ errCode }) => errCode)
      .toSorted(),
  );
  expect(properties?.errMsg?.enum?.toSorted()).toEqual(Object.keys(errorTable).toSorted());
  for (const [name, { errCode }] of Object.entries(errorTable)) {
    expect(properties?.errCode?.description).toMatch(new RegExp(`- \`${errCode}\` ${name}: \\w+`));
  }
});

test("each example is of a route, and has the form that the document says", () => {
  const validate = schemasOf(document);
  for (const [path, { request, answer }] of Object.entries(examples)) {
    const operation = document.paths[path]?.post ?? expect.fail(`${path} is no route`);
    expect(validate(operation.requestBody.content["application/json"].schema, request), path).toEqual([]);
    if (answer === undefined) continue;
    expect(validate(operation.responses[200].content["application/json"].schema, answer), path).toEqual([]);
  }
});

test("the comparison with a schema finds what does not fit", () => {
  const validate = schemasOf(document);
  const schema = { $ref: "#/components/schemas/msg.v1.SendBusinessNotificationResponse" };
  expect(validate(schema, { serverMsgID: "a", clientMsgID: "b", sendTime: 1 })).toEqual([]);
  expect(validate(schema, { serverMsgID: "a", clientMsgID: "b", sendTime: "1" })).not.toEqual([]);
  expect(validate(schema, { serverMsgID: "a", clientMsgID: "b" })).not.toEqual([]);
  expect(validate(schema, { serverMsgID: "a", clientMsgID: "b", sendTime: 1, durability: "NONE" })).not.toEqual([]);
});
