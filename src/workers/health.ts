import type { Readiness } from "../observe/health.ts";
import type { Member } from "./crew.ts";

/** How long a worker may take to say how it is, in milliseconds. */
const answerMs = 2_000;

/** Adds what the workers say of themselves to what the primary does. */
export async function addReadiness(own: Readiness, members: readonly Member[], expected: number): Promise<Readiness> {
  const of = await Promise.all(members.map(readinessOf));
  const told = of.flatMap(({ worker, readiness }) =>
    readiness === undefined
      ? [`worker ${worker}: it does not answer`]
      : readiness.problems.map((problem) => `worker ${worker}: ${problem}`),
  );
  // What all say is said once.
  const problems = [
    ...own.problems,
    ...told.filter((line) => !own.problems.includes(line.replace(/^worker \d+: /, ""))),
  ];
  if (members.length === 0) problems.push("no worker accepts");
  const missing = expected - members.length;
  return {
    ...own,
    ready: problems.length === 0,
    problems,
    broker: {
      ...own.broker,
      connected: own.broker.connected && of.every(({ readiness }) => readiness?.broker.connected === true),
    },
    warnings: missing > 0 ? [...own.warnings, `${missing} of ${expected} workers are being replaced`] : own.warnings,
    sessions: of.reduce((sum, { readiness }) => sum + (readiness?.sessions ?? 0), own.sessions),
  };
}

async function readinessOf({ worker, ask }: Member): Promise<{ worker: number; readiness: Readiness | undefined }> {
  const readiness = await inTime(ask("readiness", undefined));
  return { worker, readiness };
}

/** The answer, or undefined when there is none in time. */
export async function inTime<T>(answer: Promise<T>): Promise<T | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), answerMs);
  return Promise.race([answer.catch(() => undefined), late.promise]).finally(() => clearTimeout(timer));
}
