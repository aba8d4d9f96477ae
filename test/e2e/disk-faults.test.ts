import { copyFile, open, readdir, readFile, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { codeOf } from '../../src/base/errors.ts'
import { scratchFolder } from './command.ts'
import { EmbeddedOutage } from './embedded-records.ts'
import { FaultInjection, limitFileSize, requireFaults, straceArguments, type Fault } from './fault-injection.ts'
import { FaultLoad, type Problem } from './fault-load.ts'
import { Program, type ProgramOptions } from './program.ts'

/**
 * The built program on a disk that fails, fills up, or ends with it: real system calls, with no hook in the program. What
 * can't be kept is refused with a reason, what was answered is delivered, and service returns by itself.
 */

beforeEach(requireFaults)

/** Some 50 messages of `FaultLoad` to a segment. */
const smallSegments = {
  OUTRIGGER_JOURNAL_SEGMENT_BYTES: '2240KiB',
  OUTRIGGER_JOURNAL_RESERVE_BYTES: '1MiB',
  OUTRIGGER_FORWARDER_CHECKPOINT_INTERVAL: '200ms',
}
const MiB = 1024 * 1024

function start(options: ProgramOptions = {}): Promise<Program> {
  return Program.start({ ...options, settings: { ...smallSegments, ...options.settings } })
}

async function filesOf(program: Program, directory: string, suffix = '.segment'): Promise<string[]> {
  const path = join(program.dataDirectory, directory)
  const names = (await readdir(path)).filter((name) => name.endsWith(suffix))
  return names.toSorted().map((name) => join(path, name))
}

async function newestOf(program: Program, directory = 'journal'): Promise<string> {
  return (await filesOf(program, directory)).at(-1) as string
}

/** What stands at the end: everything that was answered is delivered in order, and it ends as it should. */
async function judged(program: Program, load: FaultLoad): Promise<object> {
  await load.accepted(5)
  await program.drained()
  const { isFlawless, lost, damaged, outOfOrder, wrongAnswers, unknown } = load.verdict()
  const { code } = await program.stop()
  return { isFlawless, lost, damaged, outOfOrder, wrongAnswers, unknown, code }
}

const flawless = { isFlawless: true, lost: [], damaged: [], outOfOrder: [], wrongAnswers: 0, unknown: 0, code: 0 }

describe('SIGKILL loses nothing that was answered, and gives no id twice, when it comes just before', () => {
  interface Point {
    readonly calls: string
    /** What the last call was. */
    readonly isAt: RegExp
    /** Brings the program close to the point; gives the files whose calls count. */
    readonly prepare: (program: Program, load: FaultLoad) => Promise<readonly string[]>
  }

  const anyFile = async (_: Program, load: FaultLoad): Promise<readonly string[]> => {
    await load.accepted(10)
    return []
  }
  const newest = async (program: Program, load: FaultLoad): Promise<readonly string[]> => {
    await load.accepted(10)
    return [await newestOf(program)]
  }
  const inData = (name: string) => (program: Program) => Promise.resolve([join(program.dataDirectory, name)])
  /** A new segment is the next thing that it makes, of the file of an old one. */
  const besideSpare = async (program: Program, load: FaultLoad): Promise<readonly string[]> => {
    await load.accepted(10)
    await program.stop()
    const spare = join(program.dataDirectory, 'journal', 'old.spare')
    await copyFile(await newestOf(program), spare)
    await program.start()
    return [spare]
  }
  /** The first segment holds so many messages, and is not written to any more. */
  const besideEnded = (messages: number) => async (program: Program, load: FaultLoad) => {
    await load.accepted(messages)
    await program.stop()
    await program.start()
    return (await filesOf(program, 'journal')).slice(0, 1)
  }

  const points: readonly (readonly [string, Point])[] = [
    [
      'a file is made for a segment',
      {
        calls: 'openat',
        isAt: /openat\(.*\.spare", O_RDWR\|O_CREAT/,
        prepare: async (program, load) => {
          await besideEnded(5)(program, load)
          // Nothing else is opened until there is something to read.
          await program.recorded()
          return []
        },
      },
    ],
    [
      'an old file is opened for a segment',
      { calls: 'openat', isAt: /openat\(.*old\.spare", O_RDWR/, prepare: besideSpare },
    ],
    [
      'a segment’s header is written',
      { calls: 'pwrite64', isAt: /pwrite64\(.*old\.spare>.*, 4096, 0/, prepare: besideSpare },
    ],
    ['a segment gets its name', { calls: 'rename', isAt: /rename\(.*\.spare", ".*\.segment"/, prepare: anyFile }],
    [
      'the name of a segment is made durable',
      { calls: 'fsync', isAt: /fsync\(.*\/journal>/, prepare: inData('journal') },
    ],
    [
      'a block is written',
      {
        calls: 'pwrite64',
        isAt: /pwrite64\(.*\.segment>/,
        prepare: newest,
      },
    ],
    ['a full segment is cut to its size', { calls: 'ftruncate', isAt: /ftruncate\(.*\.segment>/, prepare: newest }],
    ['a full segment is synced', { calls: 'fdatasync', isAt: /fdatasync\(.*\.segment>/, prepare: newest }],
    [
      'receipts are written',
      {
        calls: 'pwrite64',
        isAt: /pwrite64\(.*\/receipts\/.*\.segment>/,
        prepare: async (program, load) => {
          await load.accepted(10)
          return [await newestOf(program, 'receipts')]
        },
      },
    ],
    [
      'the forwarder’s cursor moves',
      { calls: 'pwrite64', isAt: /pwrite64\(.*\/forwarder\.cursor>/, prepare: inData('forwarder.cursor') },
    ],
    [
      'a recorder’s cursor moves',
      { calls: 'pwrite64', isAt: /pwrite64\(.*\/log\.cursor>/, prepare: inData('ledger/log.cursor') },
    ],
    ['a drained segment is deleted', { calls: 'unlink', isAt: /unlink\(.*0001\.segment"/, prepare: besideEnded(5) }],
    [
      'a drained segment is put aside',
      { calls: 'rename', isAt: /rename\(".*0001\.segment", ".*\.spare"/, prepare: besideEnded(40) },
    ],
    [
      'a deletion is made durable',
      {
        calls: 'fsync',
        isAt: /fsync\(.*\/journal>/,
        prepare: async (program, load) => {
          await besideEnded(5)(program, load)
          // Its segment is made while nothing can be delivered: then what is synced next is the deletion.
          using outage = EmbeddedOutage.begin(program.brokerFile)
          await load.accepted(1)
          outage.end()
          return [join(program.dataDirectory, 'journal')]
        },
      },
    ],
  ]

  // Making the reserve takes the same system calls.
  const withoutReserve = { settings: { OUTRIGGER_JOURNAL_RESERVE_BYTES: '0' } }

  test.each(points)('%s', async (_, { calls, isAt, prepare }) => {
    await using program = await start(withoutReserve)
    const load = new FaultLoad(program)
    const paths = await prepare(program, load)
    const log = join(program.directory, 'strace')
    await using injection = await FaultInjection.begin(program.pid, { calls, fault: 'kill', paths }, log)
    await load.untilGone()
    expect(await program.ended()).toEqual({ code: null, signal: 'SIGKILL' })
    expect(callsIn(await injection.end()).at(-1)).toMatch(isAt)
    await program.start()
    expect(await judged(program, load)).toEqual(flawless)
  })

  test.each([
    ['what is left of a segment is written again', 'pwrite64'],
    ['what is left of a segment is synced', 'fdatasync'],
    ['what is left of a segment is cut to its size', 'ftruncate'],
  ])('(at a start after a SIGKILL) %s', async (_, calls) => {
    await using program = await start()
    const load = new FaultLoad(program)
    await load.accepted(10)
    await Promise.all([load.untilGone(), program.kill()])
    const log = join(program.directory, 'strace')
    const fault: Fault = { calls, fault: 'kill', paths: [await newestOf(program)] }
    await expect(program.start({}, ['strace', '-D', ...straceArguments(fault, log)])).rejects.toThrow(/SIGKILL/)
    expect(callsIn(await readFile(log, 'utf8')).at(-1)).toMatch(new RegExp(`${calls}\\(.*\\.segment>`))
    await program.start()
    expect(await judged(program, load)).toEqual(flawless)
  })
})

describe('while the disk refuses', () => {
  interface Trouble {
    readonly faults: readonly Omit<Fault, 'paths'>[]
    readonly paths?: (program: Program) => Promise<readonly string[]>
    /** What publishers are told; null: they notice nothing. */
    readonly refusal: RegExp | null
  }

  const inData = (name: string) => (program: Program) => Promise.resolve([join(program.dataDirectory, name)])
  const broken = (calls: string): Trouble['faults'] => [{ calls, fault: 'EIO' }]
  /** A disk that is full even for a moment refuses messages for as long as its reserve is not whole. */
  const brokenOrFull = (calls: string): Trouble['faults'] => [...broken(calls), { calls, fault: 'ENOSPC' }]

  const troubles: readonly (readonly [string, Trouble])[] = [
    ['every write', { faults: brokenOrFull('pwrite64'), refusal: /EIO|ENOSPC|disk is or was full/ }],
    [
      'writes to the newest segment',
      { faults: broken('pwrite64'), paths: async (program) => [await newestOf(program)], refusal: null },
    ],
    [
      'writes to the newest receipts',
      { faults: broken('pwrite64'), paths: async (program) => [await newestOf(program, 'receipts')], refusal: null },
    ],
    [
      'writes to the forwarder’s cursor',
      { faults: broken('pwrite64'), paths: inData('forwarder.cursor'), refusal: null },
    ],
    [
      'writes to a recorder’s cursor',
      { faults: broken('pwrite64'), paths: inData('ledger/log.cursor'), refusal: null },
    ],
    ['to sync a file', { faults: broken('fdatasync'), refusal: null }],
    [
      'to sync the journal’s directory',
      { faults: brokenOrFull('fsync'), paths: inData('journal'), refusal: /EIO|ENOSPC|disk is or was full/ },
    ],
    ['to open or make a file', { faults: brokenOrFull('openat'), refusal: /EIO|ENOSPC|disk is or was full/ }],
    ['to rename a file', { faults: brokenOrFull('rename'), refusal: /EIO|ENOSPC|disk is or was full/ }],
    ['to read', { faults: [{ calls: 'pread64', fault: 'EIO' }], refusal: null }],
  ]

  test.each(troubles)(
    '%s, what can’t be kept is refused, the rest is delivered, and service returns by itself',
    async (_, trouble) => {
      await using program = await start()
      const load = new FaultLoad(program)
      for (const [i, fault] of trouble.faults.entries()) {
        await load.accepted(20)
        const paths = await trouble.paths?.(program)
        const log = join(program.directory, `strace-${i}`)
        const injection = await FaultInjection.begin(program.pid, { ...fault, ...(paths && { paths }) }, log)
        const refused = load.refusals.length
        await publishFor(1300, load)
        const calls = callsIn(await injection.end())
        expect(await stateOf(program)).toBe('it runs')
        const injected = calls.filter((call) => call.endsWith('(INJECTED)')).length
        expect(injected).toBeGreaterThan(0)
        // It tries again now and then, not as fast as it can.
        expect(injected).toBeLessThan(60)
        const refusals = load.refusals.slice(refused)
        const { refusal } = trouble
        expect(refusals.length > 0).toBe(refusal !== null)
        expect(refusals.filter(({ detail }) => refusal?.test(detail) !== true)).toEqual([])
        expect(refusals.filter((each) => !isForNow(each))).toEqual([])
        await expect.poll(() => program.ask('/readyz').catch(String), { timeout: 15_000 }).toBe('ready\n')
      }
      expect(await judged(program, load)).toEqual(flawless)
    },
  )

  test('to delete what is drained, it is deleted once that works again', async () => {
    await using program = await start()
    const load = new FaultLoad(program)
    await load.accepted(5)
    await program.stop()
    await program.start()
    const [drained = ''] = await filesOf(program, 'journal')
    const fault: Fault = { calls: 'unlink,rename', fault: 'EIO', paths: [drained] }
    await using injection = await FaultInjection.begin(program.pid, fault, join(program.directory, 'strace'))
    await load.accepted(5)
    await expect.poll(() => injection.calls(), { timeout: 10_000 }).toContain('(INJECTED)')
    await injection.end()
    await load.accepted(5)
    await expect.poll(() => filesOf(program, 'journal'), { timeout: 10_000 }).not.toContain(drained)
    expect(await judged(program, load)).toEqual(flawless)
  })
})

describe('a full file system', () => {
  test('is refused with 503 and a reason while the broker is away; with more space service returns by itself', async () => {
    await using program = await start({ fileSystemBytes: 24 * MiB })
    const load = new FaultLoad(program)
    using outage = EmbeddedOutage.begin(program.brokerFile)
    const refusal = await load.refused()
    expect(refusal).toSatisfy(isForNow)
    expect(refusal.detail).toMatch(/disk|ENOSPC/)
    await publishFor(900, load)
    await program.resizeFileSystem(200 * MiB)
    await load.accepted(20)
    outage.end()
    expect(await judged(program, load)).toEqual(flawless)
  })

  test('that somebody else has filled up is served on as soon as they make room', async () => {
    await using program = await start({ fileSystemBytes: 48 * MiB })
    const load = new FaultLoad(program)
    await load.accepted(10)
    const stranger = join(program.dataDirectory, 'stranger')
    await fill(stranger)
    expect(await load.refused()).toSatisfy(isForNow)
    await publishFor(900, load)
    expect(await stateOf(program)).toBe('it runs')
    await rm(stranger)
    await load.accepted(20)
    expect(await judged(program, load)).toEqual(flawless)
  })

  test('does not keep it from starting, and from delivering what it holds', async () => {
    await using program = await start({ fileSystemBytes: 48 * MiB })
    const load = new FaultLoad(program)
    {
      using outage = EmbeddedOutage.begin(program.brokerFile)
      await load.accepted(100)
      await Promise.all([load.untilGone(), program.kill()])
      outage.end()
    }
    await fill(join(program.dataDirectory, 'stranger'))
    await program.start()
    expect(await load.refused()).toSatisfy(isForNow)
    await rm(join(program.dataDirectory, 'stranger'))
    expect(await judged(program, load)).toEqual(flawless)
  })

  test('empties by itself when the broker returns: delivering needs no more space', async () => {
    await using elsewhere = await scratchFolder()
    await using program = await Program.prepare({
      fileSystemBytes: 24 * MiB,
      settings: { ...smallSegments, OUTRIGGER_LEDGER_METADATA: 'none', OUTRIGGER_LEDGER_LOG: 'none' },
    })
    // The broker’s own file is not what this is about.
    const brokerFile = join(elsewhere.path, 'broker.sqlite')
    await symlink(brokerFile, program.brokerFile)
    await program.start()
    const load = new FaultLoad(program)
    await load.accepted(1)
    using outage = EmbeddedOutage.begin(brokerFile)
    expect(await load.refused()).toSatisfy(isForNow)
    // Somebody else has what is left, and what was free for a moment.
    await fill(join(program.dataDirectory, 'stranger'))
    expect(await load.refused()).toSatisfy(isForNow)
    await publishFor(900, load)
    outage.end()
    await load.accepted(20)
    expect(await judged(program, load)).toEqual(flawless)
  })
})

describe('a limit to the size of files (ulimit -f)', () => {
  test('that cuts segments short loses nothing', async () => {
    await using program = await start()
    const load = new FaultLoad(program)
    await load.accepted(10)
    await limitFileSize(program.pid, MiB)
    await publishFor(2000, load)
    expect(await stateOf(program)).toBe('it runs')
    await limitFileSize(program.pid, null)
    expect(await judged(program, load)).toEqual(flawless)
  })

  test('that lets nothing be written is refused with 503 and a reason, and service returns by itself', async () => {
    await using program = await start()
    const load = new FaultLoad(program)
    await load.accepted(10)
    await limitFileSize(program.pid, 4096)
    const refusal = await load.refused()
    expect(refusal).toSatisfy(isForNow)
    expect(refusal.detail).toMatch(/EFBIG|wrote|disk/)
    await publishFor(900, load)
    expect(await stateOf(program)).toBe('it runs')
    await limitFileSize(program.pid, null)
    expect(await judged(program, load)).toEqual(flawless)
  })
})

/** The journal can't be written, and it is worth trying again. */
function isForNow({ status, code, retry }: Problem): boolean {
  return status === 503 && (code === 'journal_failed' || code === 'disk_full') && retry
}

async function stateOf(program: Program): Promise<string> {
  return program.isRunning ? 'it runs' : `it has ended: ${(await program.log()).slice(-4000)}`
}

async function publishFor(ms: number, load: FaultLoad): Promise<void> {
  const end = performance.now() + ms
  await load.until(() => performance.now() > end)
}

/** Takes all the space that is left. */
async function fill(path: string): Promise<void> {
  const piece = Buffer.alloc(64 * 1024, 1)
  await using file = await open(path, 'w')
  try {
    for (;;) if ((await file.write(piece)).bytesWritten < piece.length) return
  } catch (error) {
    if (codeOf(error) !== 'ENOSPC') throw error
  }
}

/** The lines of strace’s log that are system calls. */
function callsIn(log: string): string[] {
  return log.split('\n').filter((line) => /^\d+ +\w+\(/.test(line))
}
