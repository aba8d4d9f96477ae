import { Random } from '../torture/random.ts'
import { actionOf, sceneOf, sickBirth } from './actions.ts'
import type { Fault } from './faults.ts'
import type { Crash } from './simulated-disk.ts'
import type { NameLoss } from './simulated-names.ts'

/** What happens to a journal and to those around it. What a step decides by chance, its own seed decides. */
export type Step = { readonly seed: number } & Action

export type Action =
  /** Appends in flight together, each of records of these sizes. */
  | { readonly kind: 'append'; readonly appends: readonly (readonly number[])[] }
  /** A record that holds bytes of the journal's own files. */
  | { readonly kind: 'echo'; readonly bytes: number }
  /** Waits for everything that was begun. */
  | { readonly kind: 'settle' }
  | { readonly kind: 'skip'; readonly by: number }
  /** A reader that the journal must keep everything for. */
  | { readonly kind: 'read'; readonly reader: number; readonly blocks: number }
  /** Its cursor moves to within `lag` of what it has read, and what is behind may be deleted. */
  | { readonly kind: 'move'; readonly reader: number; readonly lag: number }
  /** All readers read everything, and let go of it. */
  | { readonly kind: 'advance' }
  /** Somebody for whom nothing is kept. */
  | { readonly kind: 'browse'; readonly from: number; readonly blocks: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'fault'; readonly fault: Fault }
  /** So many bytes are left on the disk. */
  | { readonly kind: 'fill'; readonly bytes: number }
  /** Faults end. A little later, the journal must work again. */
  | { readonly kind: 'mend' }
  | { readonly kind: 'crash'; readonly how: Crash }
  /** The process, or the next one when there is none, dies in the midst of one of its next operations. */
  | { readonly kind: 'doom'; readonly how: Crash; readonly operations: number }
  /** Closes the journal as a process does that ends in peace. */
  | { readonly kind: 'close' }

/** Named by what they make frequent: boundaries of any kind, index entries, steps of allocation, nothing. */
export const limitNames = ['tiny', 'small', 'stepped', 'production'] as const

export interface Limits {
  readonly name: (typeof limitNames)[number]
  readonly segmentBytes: number
  readonly blockBytesMax: number
  readonly bytesMax: number
  readonly readers: number
  readonly isEncrypted: boolean
  readonly nameLoss: NameLoss
  /** What befalls the files at the end. */
  readonly damage: 'none' | 'bit' | 'block'
}

export interface History {
  readonly seed: number
  readonly limits: Limits
  readonly steps: readonly Step[]
}

/** The history of a seed. */
export function historyOf(seed: number, name: Limits['name'] = sizeOf(seed)): History {
  const random = Random.of(seed)
  const limits = limitsOf(random, name)
  const count = random.between(4, { tiny: 40, small: 40, stepped: 24, production: 8 }[name])
  const withFaults = random.next() < 0.6
  const actions = Array.from({ length: count }, () => actionOf(random, limits, withFaults))
  if (withFaults || random.next() < 0.5)
    actions.splice(random.between(0, actions.length), 0, ...sceneOf(random, limits, withFaults))
  if (withFaults && random.next() < 0.2) actions.unshift(...sickBirth(random))
  const steps = actions.map((action) => ({ seed: random.between(0, 2 ** 31), ...action }))
  return { seed, limits, steps }
}

/** Most histories cross many boundaries with few bytes; some have the limits that are the default in production. */
function sizeOf(seed: number): Limits['name'] {
  const spread = Random.of(seed, 7).next()
  return spread < 0.8 ? 'tiny' : spread < 0.98 ? 'small' : spread < 0.997 ? 'stepped' : 'production'
}

function limitsOf(random: Random, name: Limits['name']): Limits {
  const segmentBytes = {
    tiny: random.pick([5, 8, 12, 20]) * 1024,
    small: random.pick([74, 150, 300]) * 1024,
    stepped: 2.5 * 1024 * 1024,
    production: 64 * 1024 * 1024,
  }[name]
  return {
    name,
    segmentBytes,
    blockBytesMax: name === 'tiny' ? random.pick([256, 1024, 4096]) : name === 'small' ? 16 * 1024 : 1024 * 1024,
    bytesMax: name !== 'production' && random.next() < 0.2 ? 6 * segmentBytes : 10 * 1024 ** 3,
    readers: random.between(1, 3),
    isEncrypted: random.next() < 0.4,
    nameLoss: random.next() < 0.5 ? 'latest' : 'any',
    damage: damageOf(random, name),
  }
}

function damageOf(random: Random, name: Limits['name']): Limits['damage'] {
  const damage = random.pick(['none', 'none', 'none', 'none', 'none', 'none', 'bit', 'block'] as const)
  // In longer segments a reader may begin at a block that the index names, whose link to the one before it can't be checked.
  return damage === 'block' && name !== 'tiny' ? 'bit' : damage
}
