import type { Limits } from './history.ts'

/** A seed whose history broke a promise once. */
export interface Regression {
  readonly seed: number
  readonly limits?: Limits['name']
  readonly broke: string
}

/** Of bugs that the simulation has found; mutants.ts has each of them, so that it is found again. */
export const regressions: readonly Regression[] = [
  { seed: 1_000_101, broke: 'a recovered tail was read a second time, when the kernel had dropped it' },
  { seed: 1_000_094, broke: "a new journal's only segment lost its name, when a cursor had its id already" },
  { seed: 1_000_019, broke: 'a cursor lost its name, and began anew' },
  { seed: 1_000_131, broke: 'a cursor went back, which the process before had not synced' },
  { seed: 1_000_114, broke: 'a segment was never released, whose deletion was reported as failed and was made' },
]
