import { dirname } from 'node:path'
import { messageOf } from '../../src/base/errors.ts'
import { Random } from '../torture/random.ts'
import { damage } from './damage.ts'
import { Violation } from './faults.ts'
import type { Action, History } from './history.ts'
import { readOn } from './reading.ts'
import { makeEcho, makeRecord } from './record.ts'
import type { SimulatedFile } from './simulated-file.ts'
import { World, failurePauseMs, journalDirectory } from './world.ts'

type Life = NonNullable<World['life']>

export interface Outcome {
  /** The promise that was broken, or null. */
  readonly violation: Violation | null
  readonly answered: number
  readonly refused: number
  /** Processes that were started. */
  readonly boots: number
}

/** Lets a history happen, and holds what comes of it against the model. `observe` is told all that happens on its way. */
export async function runHistory(history: History, observe?: (what: string) => void): Promise<Outcome> {
  const world = new World(history.limits, history.seed)
  world.disk.observe = observe ?? null
  let violation: Violation | null = null
  try {
    for (const step of history.steps) {
      world.schedule.random = Random.of(step.seed)
      observe?.(`-- ${step.kind}`)
      await take(world, step)
      await world.schedule.turns(world.schedule.random.between(0, 12))
      world.throwIfBroken()
    }
    world.schedule.random = Random.of(history.seed, 2)
    observe?.('-- the end')
    await conclude(world)
  } catch (error) {
    violation = error instanceof Violation ? error : new Violation(messageOf(error), { cause: error })
  }
  // Whatever is still under way must not go on into the next history.
  world.crash('kill')
  return { violation, answered: world.model.answered, refused: world.refused, boots: world.boots }
}

async function take(world: World, step: Action): Promise<void> {
  switch (step.kind) {
    case 'fault':
      world.disk.faults.arm(step.fault)
      return
    case 'fill':
      world.disk.capacity = world.disk.usedBytes + step.bytes
      return
    case 'wait':
      world.schedule.clock.pass(step.ms)
      return
    case 'crash':
      world.crash(step.how)
      return
    case 'doom':
      world.doom(step.how, step.operations)
      return
    case 'mend':
      await mend(world)
      return
    default: {
      const life = await world.boot()
      if (life !== null) await use(world, life, step)
    }
  }
}

type Use = Exclude<Action, { kind: 'fault' | 'fill' | 'wait' | 'crash' | 'doom' | 'mend' }>

async function use(world: World, life: Life, step: Use): Promise<void> {
  const { random } = world.schedule
  switch (step.kind) {
    case 'append':
      for (const sizes of step.appends) {
        const order = world.model.nextOrder
        world.append(
          life,
          sizes.map((bytes, index) => makeRecord(order, index, bytes)),
        )
        if (random.next() < 0.3) await world.schedule.turns(random.between(1, 4))
        if (!life.process.isAlive) return
      }
      return
    case 'echo':
      world.append(life, [makeEcho(world.model.nextOrder, 0, ownBytes(world, step.bytes))])
      return
    case 'settle':
      await world.settle(life)
      return
    case 'skip':
      world.skip(life, step.by)
      return
    case 'read':
      world.begin('reading', () => readerOf(world, step.reader).read(step.blocks))
      return
    case 'move':
      world.begin('moving a cursor', () => readerOf(world, step.reader).move(step.lag))
      return
    case 'advance':
      advance(world)
      return
    case 'browse':
      world.begin('browsing', () => browse(world, life, step.from, step.blocks))
      return
    case 'close':
      await close(world, life)
      return
  }
}

/** Faults end. The journal must work again by itself, and nobody need do anything but wait for a moment. */
async function mend(world: World): Promise<void> {
  world.disk.faults.end()
  world.disk.capacity = Number.POSITIVE_INFINITY
  if (world.life !== null) await world.settle(world.life)
  world.schedule.clock.pass(failurePauseMs)
}

/** Ends the process in peace, with appends under way or without. */
async function close(world: World, life: Life): Promise<void> {
  if (world.schedule.random.next() < 0.5 && !(await world.settle(life))) return
  const closing = life.journal.close()
  if (!(await world.settle(life))) return
  world.begin('closing', async () => {
    for (const reader of world.readers) await reader.close()
    await closing
  })
  if (!(await world.settle(life))) return
  const { openFiles } = life.process
  if (openFiles > 0 && world.disk.faults.count === 0) throw new Violation(`${openFiles} files are left open`)
  world.crash('kill')
}

/** Somebody reads for whom nothing is kept, so that what it reads may be deleted and its files used again meanwhile. */
async function browse(world: World, { journal }: Life, share: number, blocks: number): Promise<void> {
  const from = journal.firstSeq + Math.floor(share * (journal.end.nextSeq - journal.firstSeq))
  const isNeeded = from >= world.neededFrom
  const reader = journal.reader(from)
  try {
    await readOn(reader, world.model, { from: null, to: from }, blocks, true)
  } catch (error) {
    // As in an audit: names that came back one by one have holes between them.
    if (isNeeded || world.limits.nameLoss === 'latest' || error instanceof Violation) throw error
  } finally {
    await reader.close()
  }
}

/** After all faults: everything goes through, everything can be deleted, and all of it is there at the next start. */
async function conclude(world: World): Promise<void> {
  world.spare()
  await mend(world)
  const life = await mustBoot(world)
  if (world.limits.damage !== 'none') {
    await world.settle(life)
    await damage(world, life)
    return
  }
  await drain(world, life)
  // What was full is empty now.
  const drained = await mustBoot(world)
  const { answered } = world.model
  await drain(world, drained)
  if (world.model.answered === answered) throw new Violation('an append is not kept, though nothing fails any more')
  for (const { name, readTo } of world.readers)
    if (readTo !== drained.journal.end.nextSeq) throw new Violation(`${name} comes to ${readTo} only`)
  const segments = journalFiles(world).filter(([path]) => path.endsWith('.segment'))
  if (segments.length > 1) throw new Violation(`${segments.length} segments are left, though nobody needs them`)
  world.append(drained, [makeRecord(world.model.nextOrder, 0, 100)])
  await close(world, drained)
  await close(world, await mustBoot(world))
}

/** One more append; everybody reads all there is, and lets go of it. */
async function drain(world: World, life: Life): Promise<void> {
  await world.settle(life)
  if (!life.process.isAlive) return
  world.append(life, [makeRecord(world.model.nextOrder, 0, 100)])
  if (!(await world.settle(life))) return
  advance(world)
  await world.settle(life)
}

/** All readers read everything, and let go of it. */
function advance(world: World): void {
  for (const reader of world.readers)
    world.begin('advancing', () => reader.read(Number.POSITIVE_INFINITY).then(() => reader.move(0)))
}

async function mustBoot(world: World): Promise<Life> {
  const life = await world.boot()
  if (life === null) throw new Violation('the journal does not start, though nothing fails any more')
  return life
}

function readerOf(world: World, index: number): World['readers'][number] {
  return world.readers[index % world.readers.length] as World['readers'][number]
}

/** Bytes of one of the journal's files. */
function ownBytes(world: World, bytes: number): Buffer {
  const files = journalFiles(world)
  const contents = files.length === 0 ? Buffer.alloc(0) : world.schedule.random.pick(files)[1].contents()
  const from = contents.length > 4096 ? world.schedule.random.pick([0, 4096, contents.length - 16 - bytes]) : 0
  return Buffer.from(contents.subarray(Math.max(0, from), Math.max(0, from) + bytes))
}

function journalFiles(world: World): [path: string, file: SimulatedFile][] {
  return [...world.disk.names.all()].filter(([path]) => dirname(path) === journalDirectory)
}
