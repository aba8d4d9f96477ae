import type { Random } from '../torture/random.ts'
import { faultCodes, operations } from './faults.ts'
import type { Operation } from './faults.ts'
import type { Action, Limits } from './history.ts'

/** What happens next. */
export function actionOf(random: Random, limits: Limits, withFaults: boolean): Action {
  const make = random.pick(withFaults && random.next() < 0.35 ? faultyActions : actions)
  return make(random, limits)
}

type Maker = (random: Random, limits: Limits) => Action

/** What fits a segment, with room for what encryption adds. */
function recordBytesMax({ segmentBytes }: Limits): number {
  return segmentBytes - 4096 - 200
}

const append: Maker = (random, limits) => {
  const recordMax = { tiny: 1500, small: 12_000, stepped: 300_000, production: 1_000_000 }[limits.name]
  const most = Math.min(recordMax, recordBytesMax(limits))
  const groups = limits.name === 'production' ? 2 : random.between(1, 5)
  const appends = Array.from({ length: groups }, () => {
    const count =
      limits.name === 'production' ? 25 : random.next() < 0.15 ? random.between(5, 20) : random.between(1, 3)
    // Seldom one that takes a whole segment, or a block of its own.
    const largest = random.next() < 0.1 ? most : random.between(8, most / 3)
    return Array.from({ length: count }, () => random.between(8, largest))
  })
  return { kind: 'append', appends }
}
const read: Maker = (random, { readers }) => ({
  kind: 'read',
  reader: random.between(0, readers - 1),
  blocks: random.pick([1, 5, 1000]),
})
const moveOne: Maker = (random, { readers }) => ({
  kind: 'move',
  reader: random.between(0, readers - 1),
  lag: random.pick([0, 0, 1, 7]),
})
const crash: Maker = (random) => ({ kind: 'crash', how: random.pick(['kill', 'power']) })
const doom: Maker = (random) => ({
  kind: 'doom',
  how: random.pick(['kill', 'power']),
  operations: random.between(0, random.pick([8, 60])),
})
const mend: Maker = () => ({ kind: 'mend' })

const actions: readonly Maker[] = [
  append,
  append,
  append,
  append,
  (random, limits) => ({ kind: 'echo', bytes: Math.min(random.pick([60, 600, 3000]), recordBytesMax(limits) - 8) }),
  () => ({ kind: 'settle' }),
  read,
  read,
  read,
  moveOne,
  moveOne,
  () => ({ kind: 'advance' }),
  () => ({ kind: 'advance' }),
  (random) => ({ kind: 'skip', by: random.between(1, 9) }),
  (random) => ({ kind: 'browse', from: random.next(), blocks: random.between(1, 9) }),
  (random) => ({ kind: 'wait', ms: random.pick([10, 600]) }),
  crash,
  crash,
  doom,
  doom,
  () => ({ kind: 'close' }),
]

const faultyActions: readonly Maker[] = [
  mend,
  (random, { segmentBytes }) => ({ kind: 'fill', bytes: random.between(0, segmentBytes * 1.5) }),
  ...Array.from({ length: 4 }, (): Maker => (random) => ({
    kind: 'fault',
    fault: {
      operation: random.pick(operations),
      code: random.pick(faultCodes),
      after: random.pick([0, 0, random.between(1, 12)]),
      times: random.pick([1, 1, 2, 30]),
      isDone: random.next() < 0.3,
    },
  })),
]

/** Steps that belong together, and that chance alone would seldom bring together. */
export function sceneOf(random: Random, limits: Limits, withFaults: boolean): readonly Action[] {
  const makers = withFaults ? [...scenes, ...faultyScenes] : scenes
  return random.pick(makers)(random, limits)
}

type SceneMaker = (random: Random, limits: Limits) => readonly Action[]

const advance: Action = { kind: 'advance' }
const settle: Action = { kind: 'settle' }
const kill: Action = { kind: 'crash', how: 'kill' }
const powerOff: Action = { kind: 'crash', how: 'power' }

function failing(operation: Operation, times: number): Action {
  return { kind: 'fault', fault: { operation, code: 'EIO', after: 0, times, isDone: false } }
}

/** The very first start fails, and what it has left is not durable when the power goes. */
export function sickBirth(random: Random): readonly Action[] {
  const operation = random.pick(['syncDirectory', 'rename', 'sync'] as const)
  const fault = { operation, code: 'EIO', after: random.between(0, 2), times: 1, isDone: true } as const
  const move: Action = { kind: 'move', reader: 0, lag: 0 }
  return [{ kind: 'fault', fault }, settle, { kind: 'mend' }, move, settle, powerOff]
}

const scenes: readonly SceneMaker[] = [
  // Segments are drained, and their files used again, when the power goes.
  (random, limits) => [
    append(random, limits),
    append(random, limits),
    settle,
    advance,
    settle,
    { kind: 'doom', how: 'power', operations: random.between(0, 30) },
    append(random, limits),
    append(random, limits),
  ],
  // A cursor is about to move, and to let go of segments, when the power goes.
  (random, limits) => [
    append(random, limits),
    append(random, limits),
    settle,
    { kind: 'doom', how: 'power', operations: random.between(2, 40) },
    advance,
  ],
  // A start dies again and again.
  (random, limits) => [
    append(random, limits),
    ...Array.from({ length: 3 }, (): Action[] => [
      { kind: 'doom', how: random.pick(['kill', 'power']), operations: random.between(0, 25) },
      settle,
    ]).flat(),
  ],
]

const faultyScenes: readonly SceneMaker[] = [
  // What a sync has dropped is still in the page cache when the next process starts, and is gone when the power goes.
  (random, limits) => [
    append(random, limits),
    settle,
    failing('sync', random.between(2, 3)),
    append(random, limits),
    settle,
    kill,
    { kind: 'mend' },
    settle,
    powerOff,
  ],
  (random, limits) => [
    append(random, limits),
    settle,
    { kind: 'read', reader: 0, blocks: 1000 },
    settle,
    failing('sync', 1),
    { kind: 'move', reader: 0, lag: random.pick([0, 1]) },
    settle,
    kill,
    { kind: 'mend' },
    settle,
    powerOff,
  ],
  // A name was given and never synced.
  (random, limits) => [
    append(random, limits),
    settle,
    advance,
    failing('syncDirectory', random.between(1, 2)),
    append(random, limits),
    settle,
    kill,
    { kind: 'mend' },
    append(random, limits),
    { kind: 'doom', how: 'power', operations: random.between(0, 30) },
    advance,
  ],
  // The disk is full for a while.
  (random, limits) => [
    { kind: 'fill', bytes: random.between(0, limits.segmentBytes * 2) },
    append(random, limits),
    append(random, limits),
    settle,
    advance,
    append(random, limits),
    random.pick([kill, powerOff, settle]),
  ],
]
