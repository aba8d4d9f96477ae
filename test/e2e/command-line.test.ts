import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { answers, reservePorts } from '../stack/ports.ts'
import { runCommand, scratchFolder } from './command.ts'
import { Program, programCommand, programEnvironment } from './program.ts'

describe('outrigger', () => {
  test('alone prints help', async () => {
    const { code, stdout, stderr } = await runCommand([])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    for (const command of ['run', 'config', 'tail', 'log', 'show', 'migrate', 'health', 'version', 'help'])
      expect(stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'))
  })

  test('help tells what a command does', async () => {
    const { code, stdout } = await runCommand(['help', 'tail'])
    expect(code).toBe(0)
    for (const option of ['--from', '--count', '--json', '--config']) expect(stdout).toContain(option)
  })

  test('version prints the version', async () => {
    const expected = { code: 0, signal: null, stdout: `outrigger ${packageJson.version}\n`, stderr: '' }
    expect(await runCommand(['version'])).toEqual(expected)
    expect(await runCommand(['--version'])).toEqual(expected)
  })

  test.each([
    [['nonsense'], 'nonsense'],
    [['run', '--nonsense'], '--nonsense'],
    [['tail'], 'TOPIC'],
    [['tail', 'bad topic!'], 'bad topic!'],
    [['tail', '..'], '..'],
    [['log', 'bad topic!'], 'bad topic!'],
    [['tail', 'greetings', '--count', 'many'], 'many'],
    [['tail', 'greetings', '--from', 'tomorrow'], 'tomorrow'],
    [['config', 'nonsense'], 'nonsense'],
  ])('%j is bad usage: 64, and what is wrong', async (args, named) => {
    const { code, stdout, stderr } = await runCommand(args)
    expect({ code, stdout }).toEqual({ code: 64, stdout: '' })
    expect(stderr).toContain(named)
  })
})

describe('outrigger config', () => {
  test('check finds a good file to be good', async () => {
    await using folder = await scratchFolder()
    const file = join(folder.path, 'outrigger.yaml')
    await writeFile(file, 'broker: kafka\nkafka: { brokers: [a:9092, b:9092] }\n')
    const { code, stdout, stderr } = await runCommand(['config', 'check', file])
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: `${file} is valid\n`, stderr: '' })
  })

  test('check reports every fault of file and environment at once', async () => {
    await using folder = await scratchFolder()
    const file = join(folder.path, 'outrigger.yaml')
    await writeFile(file, 'brokr: kafka\njournal: { segmentBytes: 1 parsec }\n')
    const settings = { OUTRIGGER_DRAIN_DEADLINE: 'soon' }
    const { code, stdout, stderr } = await runCommand(['config', 'check', file], { settings })
    expect({ code, stdout }).toEqual({ code: 64, stdout: '' })
    for (const part of ['brokr', 'journal.segmentBytes', '1 parsec', 'OUTRIGGER_DRAIN_DEADLINE', 'soon'])
      expect(stderr).toContain(part)
    expect(stderr).toMatch(/^3 faults$/m)
  })

  test('schema prints a JSON Schema that knows the settings', async () => {
    const { code, stdout } = await runCommand(['config', 'schema'])
    expect(code).toBe(0)
    const schema = JSON.parse(stdout) as { properties: Record<string, unknown> }
    expect(Object.keys(schema.properties)).toEqual(
      expect.arrayContaining(['publish', 'admin', 'journal', 'broker', 'kafka']),
    )
  })
})

describe('outrigger run', () => {
  test('with a bad configuration ends with 64, and has created and bound nothing', async () => {
    await using folder = await scratchFolder()
    const { ports, release } = await reservePorts(2)
    try {
      const settings = {
        OUTRIGGER_PUBLISH_LISTEN: `127.0.0.1:${ports[0]},unix:${join(folder.path, 'publish.sock')}`,
        OUTRIGGER_ADMIN_LISTEN: `127.0.0.1:${ports[1]}`,
        OUTRIGGER_JOURNAL_DIRECTORY: join(folder.path, 'data'),
        OUTRIGGER_BROKER: 'pigeon',
      }
      const { code, stdout, stderr } = await runCommand(['run'], { settings, directory: folder.path })
      expect({ code, stdout }).toEqual({ code: 64, stdout: '' })
      expect(stderr).toContain('pigeon')
      expect(await readdir(folder.path)).toEqual([])
      expect(await Promise.all(ports.map(answers))).toEqual([false, false])
    } finally {
      await release()
    }
  })

  test('ends with 1 when its port is taken, says so, and leaves no socket behind', async () => {
    await using folder = await scratchFolder()
    const holder = createServer().listen(0, '127.0.0.1')
    await once(holder, 'listening')
    const { port } = holder.address() as { port: number }
    try {
      for (const setting of ['OUTRIGGER_ADMIN_LISTEN', 'OUTRIGGER_PUBLISH_LISTEN']) {
        const settings = { ...scratchSettings(folder.path), [setting]: `127.0.0.1:${port}` }
        const { code, stdout } = await runCommand(['run'], { settings })
        expect(code).toBe(1)
        expect(stdout).toContain('EADDRINUSE')
        expect(stdout).toContain(String(port))
        expect(stdout).not.toContain('"message":"ready"')
        expect(await readdir(folder.path)).toEqual(['data'])
      }
    } finally {
      holder.close()
    }
  })

  test('ends with 1 when another Outrigger holds the directory, which goes on', async () => {
    await using program = await Program.start()
    await using folder = await scratchFolder()
    const settings = { ...scratchSettings(folder.path), OUTRIGGER_JOURNAL_DIRECTORY: program.dataDirectory }
    const { code, stdout } = await runCommand(['run'], { settings })
    expect(code).toBe(1)
    expect(stdout).toContain(program.dataDirectory)
    expect(stdout).toContain('Another Outrigger')
    expect((await program.status()).state).toBe('ready')
  })

  test('takes its configuration from a file, which the environment beats', async () => {
    await using program = await Program.prepare()
    const file = await program.file(
      'outrigger.yaml',
      'broker: kafka\nkafka: { clientId: from-file }\nlog: { level: debug }\n',
    )
    await using configured = await Program.start({
      settings: { OUTRIGGER_CONFIG: file, OUTRIGGER_BROKER: 'embedded' },
    })
    const { config } = JSON.parse(await configured.ask('/status')) as { config: Record<string, unknown> }
    expect(config).toMatchObject({ broker: 'embedded', kafka: { clientId: 'from-file' }, log: { level: 'debug' } })
  })
})

describe('outrigger health', () => {
  test('is 0 while it accepts messages, and 1 when nobody answers', async () => {
    await using program = await Program.start()
    const settings = program.environment
    expect(await runCommand(['health'], { settings })).toMatchObject({ code: 0, stdout: 'ready\n', stderr: '' })
    await program.kill()
    const { code, stdout, stderr } = await runCommand(['health'], { settings })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain('ECONNREFUSED')
  })
})

describe('a pipe whose reader has seen enough', () => {
  test.each(['help', 'config schema'])('is no failure of %s', async (command) => {
    const outrigger = programCommand('built')
      .map((part) => `'${part}'`)
      .join(' ')
    const shell = spawn('bash', ['-c', `${outrigger} ${command} | head -n 1 >/dev/null; echo "\${PIPESTATUS[0]}"`], {
      env: { ...process.env, ...programEnvironment({}), NODE_OPTIONS: '' },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    for (const stream of [shell.stdout, shell.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    await once(shell, 'close')
    expect(output).toBe('0\n')
  })
})

/** Free ports, no Unix socket, and a data directory in the folder. */
function scratchSettings(folder: string): Record<string, string> {
  return {
    OUTRIGGER_PUBLISH_LISTEN: `unix:${join(folder, 'publish.sock')}`,
    OUTRIGGER_ADMIN_LISTEN: '127.0.0.1:0',
    OUTRIGGER_JOURNAL_DIRECTORY: join(folder, 'data'),
  }
}
