import { expect, test } from 'vitest'
import { checkConfig } from '../../src/cli/config-check.ts'
import { printConfigSchema } from '../../src/cli/config-schema.ts'

interface Printed {
  readonly code: number
  readonly out: string
  readonly err: string
}

async function check(given: { file?: string; env?: Record<string, string>; content?: string }): Promise<Printed> {
  const printed = { out: '', err: '' }
  const code = await checkConfig({
    ...(given.file === undefined ? {} : { file: given.file }),
    env: given.env ?? {},
    readFile: () => Promise.resolve(given.content ?? ''),
    out: { write: (text) => (printed.out += text) },
    err: { write: (text) => (printed.err += text) },
  })
  return { code, ...printed }
}

test('config check says that a valid file is valid, and returns 0', async () => {
  expect(await check({ file: 'o.yaml', content: 'broker: kafka' })).toEqual({
    code: 0,
    out: 'o.yaml is valid\n',
    err: '',
  })
})

test('config check prints warnings and returns 0 all the same', async () => {
  const { code, out, err } = await check({ file: 'o.yaml', content: 'kafka: { acks: leader }' })
  expect({ code, out }).toEqual({ code: 0, out: 'o.yaml is valid\n' })
  expect(err).toMatch(/^warning: kafka is configured, but not used.*\n$/)
})

test('config check without a file checks environment and defaults', async () => {
  expect(await check({})).toMatchObject({ code: 0, out: 'The configuration (environment and defaults) is valid\n' })
  expect(await check({ env: { OUTRIGGER_BROKER: 'x' } })).toEqual({
    code: 64,
    out: '',
    err: 'OUTRIGGER_BROKER: broker: expected one of embedded, kafka, given "x"\n1 fault\n',
  })
})

test('config check prints every fault, one a line, and returns 64', async () => {
  const { code, out, err } = await check({
    file: 'o.yaml',
    content: 'broker: x\nlog: { level: y }',
    env: { OUTRIGGER_X: '1' },
  })
  expect({ code, out }).toEqual({ code: 64, out: '' })
  expect(err.split('\n').map((line) => line.replace(/: expected.*/, ''))).toEqual([
    'o.yaml:1: broker',
    'o.yaml:2: log.level',
    'OUTRIGGER_X',
    '3 faults',
    '',
  ])
})

test('config schema prints JSON Schema', () => {
  let out = ''
  expect(printConfigSchema({ out: { write: (text) => (out += text) } })).toBe(0)
  expect(JSON.parse(out)).toMatchObject({ $schema: 'http://json-schema.org/draft-07/schema#', type: 'object' })
})
