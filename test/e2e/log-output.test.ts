import { spawn, execFileSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { get, Program, programCommand } from './program.ts'
import { Publisher } from './publisher.ts'

/** What a program does whose log goes to `stdout`: it starts, publishes, delivers, and ends by SIGTERM. Resolves with its exit code. */
async function lives(program: Program, stdout: number | 'pipe', before = ''): Promise<number | null> {
  await using running = start(program, stdout, before)
  await running.whenReady()
  const publisher = new Publisher(program.tcp)
  for (let i = 0; i < 20; i++) {
    const { status } = await publisher.publish({ topic: 'greetings', headers: {}, body: Buffer.from('hello') })
    expect(status).toBe(202)
  }
  publisher.close()
  await program.drained()
  return await running.stopped()
}

interface Running extends AsyncDisposable {
  readonly child: ChildProcess
  whenReady(): Promise<void>
  /** SIGTERM; resolves with the exit code. */
  stopped(): Promise<number | null>
}

/** `before` is a shell command that writes to the same output first. */
function start(program: Program, stdout: number | 'pipe', before: string): Running {
  const [command, ...args] = programCommand('built')
  const script = `${before}\nexec "$@"`
  const child = spawn('sh', ['-c', script, 'sh', command, ...args, 'run'], {
    env: { ...process.env, ...program.environment, NODE_OPTIONS: '' },
    stdio: ['ignore', stdout, stdout],
  })
  const ended = once(child, 'exit') as Promise<[number | null]>
  return {
    child,
    async whenReady() {
      const ready = (): Promise<string> => program.ask('/readyz').catch(() => 'no answer')
      await expect.poll(ready, { timeout: 20_000, interval: 50 }).toBe('ready\n')
    },
    async stopped() {
      const begun = performance.now()
      child.kill('SIGTERM')
      const [code] = await ended
      expect(performance.now() - begun).toBeLessThan(4000)
      return code
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

describe('a log that nobody takes', () => {
  test('ends nothing when its disk is full', async () => {
    await using program = await Program.prepare()
    const full = openSync('/dev/full', 'w')
    try {
      expect(await lives(program, full)).toBe(0)
    } finally {
      closeSync(full)
    }
  })

  test('holds nothing up when it is a pipe whose reader does not read', async () => {
    await using program = await Program.prepare()
    const path = join(program.directory, 'pipe')
    makePipe(path)
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const writer = openSync(path, constants.O_WRONLY)
    try {
      fill(path)
      expect(await lives(program, writer)).toBe(0)
    } finally {
      closeSync(writer)
      closeSync(reader)
    }
  })

  test('is whole when its reader reads again', async () => {
    await using program = await Program.prepare()
    const path = join(program.directory, 'pipe')
    makePipe(path)
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const writer = openSync(path, constants.O_WRONLY)
    try {
      fill(path)
      await using running = start(program, writer, '')
      await running.whenReady()
      const chunk = Buffer.alloc(1024 * 1024)
      const junk = readSync(reader, chunk)
      expect(junk).toBeGreaterThan(60_000)
      expect(await running.stopped()).toBe(0)
      const text = chunk.toString('utf8', 0, readSync(reader, chunk))
      const lines = text.trim().split('\n')
      const messages = lines.map((line) => (JSON.parse(line) as { message: string }).message)
      expect([messages[0], messages.at(-1)]).toEqual(['ready', 'stopped'])
    } finally {
      closeSync(writer)
      closeSync(reader)
    }
  })

  test('holds nothing up when it is a socket whose reader does not read', async () => {
    await using program = await Program.prepare()
    // Node gives its children sockets. Whatever fits in is put in.
    expect(
      await lives(program, 'pipe', 'timeout 1 head -c 100000000 /dev/zero; timeout 1 dd if=/dev/zero bs=1 2>/dev/null'),
    ).toBe(0)
  })
})

function makePipe(path: string): void {
  execFileSync('sh', ['-c', 'mkfifo "$1"', 'sh', path])
}

function fill(path: string): void {
  const filler = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
  try {
    expect(() => {
      for (;;) writeSync(filler, Buffer.alloc(1))
    }).toThrow(/EAGAIN/)
  } finally {
    closeSync(filler)
  }
}

test('the debugger can not be opened by a signal', async () => {
  await using program = await Program.start()
  program.signal('SIGUSR1')
  await expect(get({ host: '127.0.0.1', port: 9229 }, '/json/version')).rejects.toThrow('ECONNREFUSED')
  expect((await program.status()).state).toBe('ready')
  await program.stop()
  expect(await program.log()).not.toContain('Debugger listening')
})

test('SIGHUP lets everything be delivered first, as SIGTERM does, however often it comes', async () => {
  await using program = await Program.start()
  program.signal('SIGHUP')
  program.signal('SIGHUP')
  expect(await program.ended()).toEqual({ code: 0, signal: null })
  expect(await program.log()).toContain('"message":"stopped"')
})
