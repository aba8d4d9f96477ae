import { readdir, readFile } from 'node:fs/promises'
import { Ajv } from 'ajv'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { describeConfig } from '../../src/config/describe-config.ts'
import { configJsonSchema } from '../../src/config/json-schema.ts'
import { configTree, sectionsOf, settingsOf } from '../../src/config/settings-tree.ts'
import { load } from './load.ts'

const schema = configJsonSchema()
const validate = new Ajv({ strict: true, allowUnionTypes: true }).compile(schema)

function accepts(yaml: string): boolean {
  return validate(parse(yaml))
}

/** The schema of a setting or section. */
function at(path: string): Record<string, unknown> {
  let node = schema as Record<string, unknown>
  for (const key of path.split('.')) {
    const mapping = Array.isArray(node['anyOf']) ? (node['anyOf'][1] as typeof node) : node
    node = (mapping['properties'] as Record<string, typeof node>)[key] as typeof node
  }
  return node
}

test('the schema accepts the defaults as they are described, and every example', async () => {
  expect(validate({})).toBe(true)
  expect(validate(describeConfig((await load({})).config))).toBe(true)
  const folder = new URL('../../deploy/examples/', import.meta.url)
  const names = (await readdir(folder)).filter((name) => name.endsWith('.yaml'))
  expect(names.length).toBeGreaterThanOrEqual(3)
  const refused = []
  for (const name of names) if (!accepts(await readFile(new URL(name, folder), 'utf8'))) refused.push(name)
  expect(refused).toEqual([])
})

test.each([
  'publish: { bodyBytesMax: 1048576 }',
  'publish: { bodyBytesMax: "1048576" }',
  'publish: { bodyBytesMax: 10MiB, headersMax: 3, socketMode: "0600" }',
  'publish:',
  'drain: { deadline: 0 }',
  'kafka: { tls: true }',
  'kafka: { tls: { caFile: x } }',
  // The rest of it may come from the environment.
  'kafka: { sasl: { mechanism: plain } }',
  'kafka: { brokers: ["[::1]:9092", "a:1"] }',
  'ledger:',
  'ledger: { metadata: mysql, log: none, migrate: false }',
  'mysql: { url: "mysql://u@h/d", tls: true }',
  'mysql: { url: "mysql://u@[::1]:3306/d", tls: { caFile: x } }',
  'cassandra: { contactPoints: ["[::1]:9042", "a:1"], keyspace: shop_log, tls: false }',
])('the schema accepts %s', (yaml) => {
  expect(accepts(yaml)).toBe(true)
})

test.each([
  'publsh: {}',
  'publish: { bodyBytesMax: 10mb }',
  'publish: { bodyBytesMax: 0 }',
  'publish: { headersMax: "3" }',
  'publish: { listen: "127.0.0.1:1" }',
  'publish: { listen: [] }',
  'publish: { socketMode: 0660 }',
  'drain: { deadline: 30 }',
  'forwarder: { sendTimeout: 0 }',
  'kafka: { tls: "yes" }',
  'kafka: { tls: { cafile: x } }',
  'kafka: { sasl: { mechanism: md5 } }',
  'broker: rabbit',
  'ledger: { metadata: cassandra }',
  'ledger: { migrate: "yes" }',
  'mysql: { url: "mysql://u:p@h:3306/d" }',
  'mysql: { url: "mysql://u@h:3306" }',
  'mysql: { tls: { cafile: x } }',
  'cassandra: { contactPoints: [a] }',
  'cassandra: { keyspace: a-b }',
])('the schema refuses %s', (yaml) => {
  expect(accepts(yaml)).toBe(false)
})

test('every setting and section has a title and a description, and every default that it has', () => {
  for (const { path, default: fallback } of settingsOf(configTree)) {
    expect(at(path)).toMatchObject({ title: path, description: expect.stringMatching(/^[A-Z][^]*\.$/) as string })
    expect({ path, default: at(path)['default'] }).toEqual({ path, default: fallback })
  }
  for (const { path } of sectionsOf(configTree).slice(1)) {
    expect(at(path)).toMatchObject({ title: path, description: expect.stringMatching(/^[A-Z][^]*\.$/) as string })
  }
})

test('a default is what the schema gives for nothing, and a sample is accepted', () => {
  for (const { path, info, listExpected } of settingsOf(configTree)) {
    const value = listExpected === undefined ? info.sample : [info.sample]
    const input = path.split('.').reduceRight<unknown>((inner, key) => ({ [key]: inner }), value)
    expect({ path, accepted: validate(input) }).toEqual({ path, accepted: true })
  }
})
