/** A seeded source of choices. */
export interface Random {
  /** 0 up to 1. */
  (): number;
  /** A whole number from `min` to `max`. */
  between(min: number, max: number): number;
  /** Whether something with this probability happens. */
  chance(probability: number): boolean;
  /** Throws a RangeError when there is nothing to pick from. */
  pick<T>(from: readonly T[]): T;
}

/** Creates a source that depends on the seed and the name alone (mulberry32). */
export function createRandom(seed: number, name: string): Random {
  let state = seed;
  for (const char of name) state = Math.imul(state ^ char.charCodeAt(0), 0x01000193);
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  return Object.assign(random, {
    between: (min: number, max: number) => min + Math.floor(random() * (max - min + 1)),
    chance: (probability: number) => random() < probability,
    pick<T>(from: readonly T[]): T {
      const picked = from[Math.floor(random() * from.length)];
      if (picked === undefined) throw new RangeError("there is nothing to pick from");
      return picked;
    },
  });
}
