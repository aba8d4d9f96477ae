import { parseSync } from 'oxc-parser'
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, relative } from 'node:path'
import { globSync, existsSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { buildProgram } from '../../deploy/build.ts'

const root = join(import.meta.dirname, '..', '..')
let folder: string
let program: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'outrigger-build-'))
  program = join(folder, 'dist', 'outrigger.js')
  await buildProgram(join(import.meta.dirname, 'example-program.ts'), relative(root, program))
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

test('the built program is an executable file, and parts that import only each other', async () => {
  const text = await readFile(program, 'utf8')
  expect(text.slice(0, 20)).toBe('#!/usr/bin/env node\n')
  expect(text.trimEnd().split('\n').at(-1)).toBe('//# sourceMappingURL=outrigger.js.map')
  expect((await stat(program)).mode & 0o111).toBe(0o111)
  const directory = dirname(program)
  const files = globSync('**/*.js', { cwd: directory })
  expect(files.length).toBeGreaterThan(1)
  for (const file of files) {
    const { errors, module } = parseSync(file, await readFile(join(directory, file), 'utf8'))
    expect(errors).toEqual([])
    for (const { moduleRequest } of module.staticImports)
      expect(files).toContain(join(dirname(file), moduleRequest.value))
  }
})

test('the built program runs alone in an empty folder, and keeps names and codes of errors', async () => {
  const folderOfItsOwn = await mkdtemp(join(folder, 'alone-'))
  await cp(dirname(program), folderOfItsOwn, { recursive: true })
  const alone = join(folderOfItsOwn, 'outrigger.js')
  const { code, stdout, stderr } = await run(process.execPath, [alone])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(JSON.parse(stdout)).toEqual({
    version: packageJson.version,
    keysOfPackageJson: ['version'],
    errors: [
      { name: 'BrokerError', code: 'broker_failed' },
      { name: 'UnavailableError', code: 'overloaded' },
    ],
    another: 'Error',
    kafkajs: 'function',
    clock: 'number',
    metrics: '\n',
    sqlite: { one: 1 },
    file: true,
    fromWorker: 'hello',
  })
})

test('the built program leaves out what only costs memory', async () => {
  const text = await readFile(program, 'utf8')
  expect(text.includes('node:http')).toBe(false)
})

test('every error class of ours writes its name out', async () => {
  const classes = await Promise.all(
    globSync('src/**/*.ts', { cwd: root }).map(async (path) => {
      const text = await readFile(join(root, path), 'utf8')
      return [...text.matchAll(/^export (?:abstract )?class (\w+Error) extends (\w+)(.*?)^}/gms)].map(
        ([, name, base, body]) => ({
          name,
          base,
          literal: /override readonly name(?:: '\w+')? = '(\w+)'/.exec(body!)?.[1],
        }),
      )
    }),
  )
  const ours = classes.flat().filter(({ name }) => name !== 'OutriggerError')
  expect(ours.length).toBeGreaterThan(1)
  expect(ours.filter(({ name, literal }) => literal !== name)).toEqual([])
})

test('the licences of what is in the program come with it', async () => {
  const text = await readFile(join(folder, 'dist', 'licenses.txt'), 'utf8')
  expect(text).toMatch(/^kafkajs 2\.\S+ \(MIT\)\n/m)
  expect(text).toContain('Copyright (c) 2018 Túlio Ornelas')
})

test('an older Node gets one line and exit code 1', async () => {
  const pretended = "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.1.2' } })"
  expect(await run(process.execPath, ['--import', `data:text/javascript,${pretended}`, program])).toEqual({
    code: 1,
    stdout: '',
    stderr: 'outrigger needs Node 24 or newer; this is 20.1.2\n',
  })
})

test('a really older Node, where the machine has one, can parse the program so far', async () => {
  for (const node of await olderNodes()) {
    const { code, stdout, stderr } = await run(node.path, [program])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toBe(`outrigger needs Node 24 or newer; this is ${node.version}\n`)
  }
})

/** The Nodes below 24 on the PATH; npm itself often runs on one, while its scripts run on the `node` package. */
async function olderNodes(): Promise<{ path: string; version: string }[]> {
  const paths = (process.env.PATH ?? '').split(delimiter).map((directory) => join(directory, 'node'))
  const nodes = await Promise.all(
    paths.filter(existsSync).map(async (path) => ({
      path,
      version: (await run(path, ['-p', 'process.versions.node'])).stdout.trim(),
    })),
  )
  return nodes.filter(({ version }) => Number.parseInt(version, 10) < 24)
}

interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

function run(file: string, args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(file, args, { timeout: 15_000, env: { PATH: process.env.PATH } }, (_, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr })
    })
  })
}
