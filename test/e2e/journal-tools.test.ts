import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runCommand, scratchFolder } from './command.ts'
import { EmbeddedOutage, readEmbedded } from './embedded-records.ts'
import { Program, programCommand, programEnvironment } from './program.ts'
import { Publisher } from './publisher.ts'

const segmentSettings = { OUTRIGGER_JOURNAL_SEGMENT_BYTES: '2240KiB' }

async function publish(program: Program, count: number): Promise<void> {
  const publisher = new Publisher(program.unix)
  for (let i = 0; i < count; i++) {
    const answer = await publisher.publish({ topic: 'orders', headers: {}, body: Buffer.from(`${i} `.padEnd(50_000, 'x')) }) // prettier-ignore
    expect(answer.status).toBe(202)
  }
  publisher.close()
}

test('what a damaged journal holds is looked at beside its running Outrigger, exported, and delivered by another one', async () => {
  await using program = await Program.start({ settings: segmentSettings })
  using outage = EmbeddedOutage.begin(program.brokerFile)
  await publish(program, 100)
  const settings = program.environment
  expect(await runCommand(['journal', 'verify'], { settings })).toMatchObject({ code: 0, stderr: '' })
  expect((await runCommand(['journal', 'inspect'], { settings })).stdout).toMatch(
    /^journal: journal \w{13}, \d+ segments/,
  )
  expect(await runCommand(['journal', 'import', '/dev/null'], { settings })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('Another Outrigger may be running'),
  })
  const inPlace = await runCommand(['journal', 'repair', '--in-place'], { settings })
  expect(inPlace).toMatchObject({ code: 2, stderr: expect.stringContaining('Another Outrigger may be running') })
  await program.kill()

  const journal = join(program.dataDirectory, 'journal')
  const names = (await readdir(journal)).filter((name) => name.endsWith('.segment')).toSorted()
  expect(names.length).toBeGreaterThan(2)
  const damaged = join(journal, names[1] ?? '')
  const bytes = await readFile(damaged)
  bytes.writeUInt8(bytes.readUInt8(1_000_000) ^ 1, 1_000_000)
  await writeFile(damaged, bytes)
  expect(await runCommand(['journal', 'verify', program.dataDirectory])).toMatchObject({
    code: 1,
    stdout: expect.stringContaining(names[1] ?? ''),
  })

  await using folder = await scratchFolder()
  const to = join(folder.path, 'messages.jsonl')
  const exported = await runCommand(['journal', 'export', program.dataDirectory, '--unfinished', '--raw', '--to', to])
  expect(exported).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('all others were') })
  const lines = (await readFile(to, 'utf8')).trimEnd().split('\n')
  expect(lines.length).toBeGreaterThan(80)
  expect(lines.length).toBeLessThan(100)

  const copy = join(folder.path, 'copy')
  expect(await runCommand(['journal', 'repair', program.dataDirectory, '--to', copy])).toMatchObject({ code: 0 })
  expect(await runCommand(['journal', 'verify', copy])).toMatchObject({ code: 0 })

  await using other = await Program.prepare()
  const imported = await runCommand(['journal', 'import', to, '--json'], { settings: other.environment })
  expect(imported).toMatchObject({ code: 0, stderr: '' })
  expect(JSON.parse(imported.stdout)).toMatchObject({ imported: lines.length, fromSeq: 1 })
  await other.start()
  await other.drained()
  let delivered = 0
  readEmbedded(other.brokerFile, () => delivered++)
  expect(delivered).toBe(lines.length)
  outage.end()
})

describe('outrigger journal', () => {
  test.each([
    [['journal', 'repair'], '--in-place'],
    [['journal', 'repair', '--to', 'a', '--in-place'], 'cannot be used with'],
    [['journal', 'export', '--records', 'cats'], 'cats'],
    [['journal', 'import'], 'FILE'],
  ])('%j is bad usage: 64, and what is wrong', async (args, named) => {
    const { code, stdout, stderr } = await runCommand(args)
    expect({ code, stdout }).toEqual({ code: 64, stdout: '' })
    expect(stderr).toContain(named)
  })

  test('of what is not there, or can not be read, ends with 2, and says why', async () => {
    await using folder = await scratchFolder()
    for (const command of ['inspect', 'verify', 'export']) {
      const { code, stdout, stderr } = await runCommand(['journal', command, folder.path])
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(stderr).toContain(`there is no journal in ${folder.path}`)
    }
    const { code, stderr } = await runCommand(['journal', 'import', join(folder.path, 'none')], {
      settings: { OUTRIGGER_JOURNAL_DIRECTORY: join(folder.path, 'data') },
    })
    expect(code).toBe(2)
    expect(stderr).toContain('ENOENT')
  })

  test('export is ended by a reader that has seen enough', async () => {
    await using program = await Program.start({ settings: segmentSettings })
    using outage = EmbeddedOutage.begin(program.brokerFile)
    await publish(program, 40)
    const outrigger = programCommand('built')
      .map((part) => `'${part}'`)
      .join(' ')
    const script = `${outrigger} journal export '${program.dataDirectory}' | head -n 1 | wc -l; echo "\${PIPESTATUS[0]}"`
    const shell = spawn('bash', ['-c', script], {
      env: { ...process.env, ...programEnvironment({}), NODE_OPTIONS: '' },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    for (const stream of [shell.stdout, shell.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    await once(shell, 'close')
    expect(output).toBe('1\n0\n')
    outage.end()
  })
})
