import * as fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { configVariables, readEnvironment, variableOf } from '../../src/config/environment.ts'
import { isMapping, overlay, valueAt } from '../../src/config/input-data.ts'
import { placeOf } from '../../src/config/place.ts'
import { checkSchema } from '../../src/config/schema-check.ts'
import { configTree, sectionsOf, settingsOf } from '../../src/config/settings-tree.ts'
import { Sources } from '../../src/config/sources.ts'
import { faultsOf, load } from './load.ts'

const settings = settingsOf(configTree)

describe('the name of a variable', () => {
  it.each([
    ['broker', 'OUTRIGGER_BROKER'],
    ['publish.bodyBytesMax', 'OUTRIGGER_PUBLISH_BODY_BYTES_MAX'],
    ['deadLetters.bytesMax', 'OUTRIGGER_DEAD_LETTERS_BYTES_MAX'],
    ['kafka.tls.caFile', 'OUTRIGGER_KAFKA_TLS_CA_FILE'],
    ['ledger.metadata', 'OUTRIGGER_LEDGER_METADATA'],
    ['mysql.password', 'OUTRIGGER_MYSQL_PASSWORD'],
    ['cassandra.contactPoints', 'OUTRIGGER_CASSANDRA_CONTACT_POINTS'],
  ])('for %s is %s', (path, variable) => {
    expect(variableOf(path)).toBe(variable)
  })

  it('belongs to exactly one setting, and every setting has one', () => {
    const variables = configVariables()
    expect(settings.length).toBeGreaterThan(40)
    const switches = sectionsOf(configTree).filter(({ switchable }) => switchable)
    expect(variables.size).toBe(settings.length + switches.length)
    for (const setting of settings) expect(variables.get(variableOf(setting.path))).toBe(setting)
    for (const section of switches) expect(variables.get(variableOf(section.path))).toBe(section)
  })
})

test.each(settings.map((setting) => [variableOf(setting.path), setting] as const))(
  '%s sets its setting and no other',
  (variable, setting) => {
    const { values, faults } = readEnvironment({ [variable]: String(setting.info.sample) })
    expect(faults).toEqual([])
    const data = {}
    expect(overlay(data, values)).toEqual([])
    const place = placeOf(setting.path)
    const checked = checkSchema(data, new Sources(undefined, undefined, values, data))
    expect(checked.faults).toEqual([])
    expect(leafCount(data)).toBe(1)
    const value = valueAt(data, place)
    expect(String(setting.listExpected === undefined ? value : (value as unknown[])[0])).toBe(
      String(setting.info.sample),
    )
  },
)

function leafCount(value: unknown): number {
  return isMapping(value) ? Object.values(value).reduce<number>((sum, item) => sum + leafCount(item), 0) : 1
}

test('what Kubernetes and Docker tell about a service named outrigger is ignored', async () => {
  const { config } = await load({})
  const env = {
    OUTRIGGER_SERVICE_HOST: '10.0.0.7',
    OUTRIGGER_SERVICE_PORT: '4110',
    OUTRIGGER_SERVICE_PORT_HTTP: '4110',
    OUTRIGGER_PORT: 'tcp://10.0.0.7:4110',
    OUTRIGGER_PORT_4110_TCP: 'tcp://10.0.0.7:4110',
    OUTRIGGER_PORT_4110_TCP_PROTO: 'tcp',
    OUTRIGGER_PORT_4110_TCP_PORT: '4110',
    OUTRIGGER_PORT_4110_TCP_ADDR: '10.0.0.7',
    OUTRIGGER_ADMIN_SERVICE_HOST: '10.0.0.8',
    OUTRIGGER_ADMIN_PORT: 'tcp://10.0.0.8:80',
    OUTRIGGER_ADMIN_PORT_80_TCP_ADDR: '10.0.0.8',
    OUTRIGGER_MYSQL_PORT: 'tcp://10.0.0.9:3306',
    OUTRIGGER_MYSQL_SERVICE_HOST: '10.0.0.9',
    OUTRIGGER_TEST_KAFKA: 'x',
    OUTRIGGER_STACK_KAFKA_VERSION: 'x',
    OUTRIGGERS: 'x',
    PATH: '/bin',
  }
  expect((await load({ env })).config).toEqual(config)
  expect(await faultsOf({ env: { OUTRIGGER_PORT: '4110' } })).toHaveLength(1)
})

test('every other variable with the prefix is a fault, whatever its name and value', async () => {
  const known = configVariables()
  await fc.assert(
    fc.asyncProperty(fc.stringMatching(/^[A-Z_]{1,20}$/), fc.string({ minLength: 1 }), async (name, value) => {
      const variable = `OUTRIGGER_${name}`
      fc.pre(!known.has(variable) && variable !== 'OUTRIGGER_CONFIG' && !/^(TEST|STACK)_|_?(SERVICE|PORT)/.test(name))
      const faults = await faultsOf({ env: { [variable]: value } })
      expect(faults).toEqual([expect.stringMatching(new RegExp(`^${variable}: expected the name of a setting`))])
    }),
    { numRuns: 50 },
  )
})
