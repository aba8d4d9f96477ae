import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { LogTarget } from '../../src/base/log-output.ts'
import { codeOf } from '../../src/base/errors.ts'
import { LogOutput, openLogTarget, ThreadLogSink } from '../../src/base/log-output.ts'
import { openLog } from '../../src/base/log.ts'

let folder: string
const descriptors: number[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'outrigger-log-'))
})
afterEach(() => {
  for (const descriptor of descriptors.splice(0)) closeSync(descriptor)
  rmSync(folder, { recursive: true, force: true })
})

function opened(path: string, flags: number): number {
  const descriptor = openSync(path, flags, 0o600)
  descriptors.push(descriptor)
  return descriptor
}

/** A pipe whose reader may read or not: what is written so far, and a descriptor for writing that would wait. */
function pipe(): { readonly end: number; read(): string; fill(): void } {
  const path = join(folder, 'pipe')
  execFileSync('sh', ['-c', 'mkfifo "$1"', 'sh', path])
  const reader = opened(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const end = opened(path, constants.O_WRONLY)
  const read = (): string => {
    const chunk = Buffer.alloc(1024 * 1024)
    try {
      return chunk.toString('utf8', 0, readSync(reader, chunk))
    } catch (error) {
      if (codeOf(error) === 'EAGAIN') return ''
      throw error
    }
  }
  const fill = (): void => {
    const filler = opened(path, constants.O_WRONLY | constants.O_NONBLOCK)
    const byByte = Buffer.alloc(1)
    expect(() => {
      for (;;) writeSync(filler, byByte)
    }).toThrow(/EAGAIN/)
  }
  return { end, read, fill }
}

/** A target that takes all, or fails with an error. */
function target(): { readonly target: LogTarget; readonly text: () => string; failWith: Error | null; takes: number } {
  let text = ''
  const made = {
    failWith: null as Error | null,
    takes: Infinity,
    text: () => text,
    target: {
      kind: 'immediate' as const,
      write(bytes: Buffer): number {
        if (made.failWith) throw made.failWith
        const taken = Math.min(bytes.length, made.takes)
        text += bytes.toString('utf8', 0, taken)
        return taken
      },
    },
  }
  return made
}

const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })

describe('a log that can not be written', () => {
  test('ends nobody; what fits in memory is written later, and one line says how many lines are missing', async () => {
    const disk = target()
    const output = new LogOutput(disk.target, systemClock, (lines) => output.write(`${lines} lost\n`), 30)
    output.write('first\n')
    disk.failWith = full
    for (let i = 0; i < 10; i++) output.write(`line ${i}\n`)
    output.write('x\n') // would fit, but lines are missing before it
    expect(disk.text()).toBe('first\n')
    disk.failWith = null
    await expect.poll(() => disk.text()).toBe('first\nline 0\nline 1\nline 2\nline 3\n7 lost\n')
    output.write('last\n')
    expect(disk.text()).toMatch(/\n7 lost\nlast\n$/)
  })

  test('goes on in the middle of a line that was written in part', async () => {
    const disk = target()
    const output = new LogOutput(disk.target, systemClock, () => {})
    disk.takes = 4
    output.write('one line\n')
    expect(disk.text()).toBe('one line\n')
  })

  test('is not waited for at the end for longer than agreed', async () => {
    const disk = target()
    const output = new LogOutput(disk.target, systemClock, () => {})
    disk.failWith = full
    output.write('line\n')
    const begun = performance.now()
    await output.flush(100)
    expect(performance.now() - begun).toBeGreaterThan(90)
    expect(performance.now() - begun).toBeLessThan(1000)
  })

  test('says in a line of its own how many lines are missing, whatever its level', async () => {
    const { end, read, fill } = pipe()
    fill()
    const { log } = openLog('error', { pid: 1 }, end)
    const detail = 'x'.repeat(100_000)
    for (let i = 0; i < 20; i++) log.error({ detail }, 'an error')
    let text = ''
    await expect
      .poll(() => (text += read()).split('\n').slice(-2)[0], { interval: 5, timeout: 10_000 })
      .toContain('were lost')
    const lines = text.replace(/^\0+/, '').trim().split('\n')
    const parsed = lines.map((line) => JSON.parse(line) as { message: string; lines?: number })
    expect(parsed.at(-1)).toMatchObject({ level: 'error', pid: 1, lines: 20 - (parsed.length - 1) })
    expect(parsed.length).toBe(11)
  })
})

describe('a pipe that nobody reads', () => {
  test('holds up no writer, and gets every line whole once it is read', async () => {
    const { end, read, fill } = pipe()
    fill()
    const output = new LogOutput(openLogTarget(end), systemClock, () => {})
    const long = 'x'.repeat(10_000)
    const begun = performance.now()
    for (let i = 0; i < 20; i++) output.write(`${i} ${long}\n`)
    expect(performance.now() - begun).toBeLessThan(1000)
    expect(output.isHeldUp).toBe(false)
    let text = ''
    await expect.poll(() => (text += read()).split('\n').length, { interval: 5, timeout: 10_000 }).toBe(21)
    const lines = text.replace(/^\0+/, '').split('\n').slice(0, -1)
    expect(lines).toEqual(Array.from({ length: 20 }, (_, i) => `${i} ${long}`))
  })

  test('is opened anew: others who write to it still wait as they did', () => {
    const { end } = pipe()
    const flagsOf = (): string => /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${end}`, 'utf8'))?.[1] ?? ''
    const before = flagsOf()
    openLogTarget(end)
    expect(flagsOf()).toBe(before)
    expect(Number.parseInt(before, 8) & constants.O_NONBLOCK).toBe(0)
  })
})

test('a file goes on where whoever opened it was', () => {
  const path = join(folder, 'log')
  writeFileSync(path, '')
  const descriptor = opened(path, constants.O_WRONLY)
  writeSync(descriptor, 'before\n')
  const output = new LogOutput(openLogTarget(descriptor), systemClock, () => {})
  output.write('after\n')
  expect(readFileSync(path, 'utf8')).toBe('before\nafter\n')
})

describe('a write that must be waited for', () => {
  test('is one at a time, and the end waits for it as long as agreed', async () => {
    const writes: { readonly line: string; readonly done: (bytes: number) => void }[] = []
    const waiting: LogTarget = {
      kind: 'waiting',
      write: (bytes) => new Promise((done) => void writes.push({ line: bytes.toString(), done })),
    }
    const output = new LogOutput(waiting, systemClock, () => {})
    output.write('one\n')
    output.write('two\n')
    expect(writes.map(({ line }) => line)).toEqual(['one\n'])
    await output.flush(20)
    expect(output.isHeldUp).toBe(true)
    writes[0]?.done(4)
    await expect.poll(() => writes.length).toBe(2)
    writes[1]?.done(4)
    await output.flush(20)
    expect(output.isHeldUp).toBe(false)
    expect(writes.map(({ line }) => line)).toEqual(['one\n', 'two\n'])
  })
})

describe('another thread', () => {
  test('sends whole lines, and what it sent last is written although it has ended', async () => {
    const disk = target()
    const output = new LogOutput(disk.target, systemClock, () => {})
    const { channel, closed } = output.open()
    const sink = new ThreadLogSink(channel)
    sink.write('one\n')
    await expect.poll(() => disk.text()).toBe('one\n')
    sink.write('two\n')
    closed()
    expect(disk.text()).toBe('one\ntwo\n')
  })

  test('loses what is not read in time, and that is told', async () => {
    const disk = target()
    const output = new LogOutput(disk.target, systemClock, (lines) => output.write(`${lines} lost\n`))
    const { channel, closed } = output.open()
    const sink = new ThreadLogSink(channel)
    const line = `${'x'.repeat(400_000)}\n`
    for (let i = 0; i < 5; i++) sink.write(line)
    await output.flush(1000)
    expect(disk.text().replaceAll(line, 'x')).toBe('xx3 lost\n')
    sink.write('again\n')
    closed()
    expect(disk.text()).toMatch(/3 lost\nagain\n$/)
  })
})
