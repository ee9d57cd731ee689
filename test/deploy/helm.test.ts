import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { loadConfig } from "../../src/config.ts";
import { hasProgram } from "../helpers/programs.ts";

const chart = resolve(import.meta.dirname, "..", "..", "deploy", "helm", "mustreach");
const hasHelm = hasProgram("helm", "go install helm.sh/helm/v3/cmd/helm@v3.19.0");

interface Container {
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly volumeMounts: readonly { readonly mountPath: string }[];
}

interface Manifest {
  readonly kind: string;
  readonly spec: {
    readonly template?: {
      readonly spec: { readonly enableServiceLinks: boolean; readonly containers: readonly Container[] };
    };
  };
}

function helm(...args: string[]) {
  return spawnSync("helm", args, { encoding: "utf8" });
}

/** What the chart makes of values. */
function render(...values: string[]): Manifest[] {
  const { status, stdout, stderr } = helm(
    ...["template", "orders", chart, "--kube-version", "1.32.0"],
    ...values.flatMap((value) => ["--set", value]),
  );
  expect(status, stderr).toBe(0);
  return parseAllDocuments(stdout).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS();
  });
}

const kinds = (manifests: readonly Manifest[]) => manifests.map(({ kind }) => kind).toSorted();
const podOf = (manifests: readonly Manifest[]) => manifests.find(({ spec }) => spec.template)?.spec.template?.spec;

/** The settings of the pod, without the files that are mounted. */
function settingsOf(manifests: readonly Manifest[]) {
  const env = podOf(manifests)?.containers[0]?.env ?? [];
  const variables = Object.fromEntries(env.map(({ name, value }) => [name, value]));
  const files = Object.keys(variables).filter((name) => name.endsWith("_FILE"));
  const given = Object.entries(variables).filter(([name]) => !files.includes(name));
  return { config: loadConfig(Object.fromEntries(given)), files };
}

test.skipIf(!hasHelm)("helm lint takes the chart", () => {
  const { status, stdout, stderr } = helm("lint", "--strict", join(chart));
  expect(status, stdout + stderr).toBe(0);
});

test.skipIf(!hasHelm)(
  "with another's broker: instances without a disk, with a budget, and as many as sessions ask for",
  () => {
    const manifests = render("autoscaling.enabled=true");
    expect(kinds(manifests)).toEqual([
      "Deployment",
      "HorizontalPodAutoscaler",
      "NetworkPolicy",
      "PodDisruptionBudget",
      "Service",
    ]);
    const { config, files } = settingsOf(manifests);
    expect(config).toMatchObject({ host: "0.0.0.0", port: 10_002, adminPort: 10_003, replicas: 3, workers: 1 });
    expect(files).toEqual(["MUSTREACH_NATS_URL_FILE", "MUSTREACH_TOKEN_SECRET_FILE"]);
    expect(podOf(manifests)?.enableServiceLinks).toBe(false);
    expect(podOf(manifests)?.containers[0]?.ports.map(({ containerPort }) => containerPort)).toEqual([10_002, 10_003]);
  },
);

test.skipIf(!hasHelm)("with a broker of its own: one instance with a volume", () => {
  const manifests = render("broker=embedded", "secret.name=", "settings.RETENTION=1d");
  expect(kinds(manifests)).toEqual(["NetworkPolicy", "Service", "StatefulSet"]);
  const { config, files } = settingsOf(manifests);
  expect(config).toMatchObject({ replicas: 1, partitions: 1, retention: 86_400_000 });
  expect(files).toEqual([]);
  expect(podOf(manifests)?.containers[0]?.volumeMounts).toEqual([{ name: "data", mountPath: "/data" }]);
});

test.skipIf(!hasHelm)("what cannot work is refused", () => {
  for (const values of ["secret.name=", "broker=other"]) {
    expect(helm("template", "orders", chart, "--kube-version", "1.32.0", "--set", values).status).not.toBe(0);
  }
});
