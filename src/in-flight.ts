/**
 * Creates a limit on what is in flight: work is run when there is room for it, in the order of the calls. Who waits gives
 * up by a deadline of its own: the work is then to return at once.
 *
 * @param maxWeight what the weights under way add up to at most, whatever the unit; one that is heavier runs alone.
 */
export function createLimit(maxInFlight: number, maxWeight = Number.POSITIVE_INFINITY) {
  const waiting: { readonly weight: number; start(): void }[] = [];
  let inFlight = 0;
  let used = 0;

  const hasRoom = (weight: number) => inFlight === 0 || (inFlight < maxInFlight && used + weight <= maxWeight);
  const enter = (weight: number) => {
    inFlight++;
    used += weight;
  };
  const leave = (weight: number) => {
    inFlight--;
    used -= weight;
    for (let next = waiting[0]; next !== undefined && hasRoom(next.weight); next = waiting[0]) {
      waiting.shift();
      enter(next.weight);
      next.start();
    }
  };

  return async <T>(weight: number, work: () => Promise<T>): Promise<T> => {
    if (waiting.length === 0 && hasRoom(weight)) enter(weight);
    else await new Promise<void>((start) => waiting.push({ weight, start }));
    try {
      return await work();
    } finally {
      leave(weight);
    }
  };
}

/**
 * Creates turns: work with the same key runs one after the other, in the order of the calls, and of all work at most
 * `maxInFlight` at a time. What fails does not stop what follows.
 */
export function createTurns(maxInFlight: number): <T>(key: string, work: () => Promise<T>) => Promise<T> {
  const limit = createLimit(maxInFlight);
  /** The last call of each key that has work. */
  const last = new Map<string, Promise<unknown>>();

  return (key, work) => {
    const next = () => limit(1, work);
    const turn = (last.get(key) ?? Promise.resolve()).then(next, next);
    last.set(key, turn);
    return turn.finally(() => {
      if (last.get(key) === turn) last.delete(key);
    });
  };
}

/**
 * Does something with each of these, in their order, at most `maxInFlight` at a time. When one fails, no more are begun.
 *
 * @throws what the first to fail threw, when nothing is under way any more.
 */
export async function forAll<T>(
  items: readonly T[],
  maxInFlight: number,
  act: (item: T) => Promise<unknown>,
): Promise<void> {
  const remaining = items.values();
  const errors: unknown[] = [];
  const worker = async () => {
    for (let next = remaining.next(); errors.length === 0 && !next.done; next = remaining.next()) {
      await act(next.value).catch((error: unknown) => errors.push(error));
    }
  };
  await Promise.all(Array.from({ length: maxInFlight }, worker));
  if (errors.length > 0) throw errors[0];
}
