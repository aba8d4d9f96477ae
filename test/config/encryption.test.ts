import { describe, expect, test } from 'vitest'
import { describeConfig } from '../../src/config/describe-config.ts'
import { faultsOf, load } from './load.ts'

const key = (fill: number): string => Buffer.alloc(32, fill).toString('base64')
const files = {
  keys: `# ours\nnew:${key(1)}\nold:${key(2)}\n`,
  'no-key': '# nothing\n',
  'bad-keys': `a:${key(1)}\nb:${key(2).slice(4)}\n`,
  empty: '\n',
}
const servers = 'broker: kafka\nledger: { metadata: mysql, log: cassandra }\n'
const without = 'broker: kafka\nledger: { metadata: none, log: none }\n'

describe('encryption', () => {
  test('is off without keys', async () => {
    const { config, warnings } = await load({})
    expect(config.encryption).toEqual({ acceptUnencrypted: false })
    expect(warnings).toEqual([])
  })

  test('takes keys from a file, from the configuration, or from the environment, and shows none', async () => {
    const fromFile = await load({ yaml: `${servers}encryption: { keysFile: keys }`, files })
    expect(fromFile.config.encryption.keysFile).toBe('keys')
    const written = await load({ yaml: `${servers}encryption: { keys: "a:${key(1)},b:${key(2)}" }` })
    const env = { OUTRIGGER_ENCRYPTION_KEYS: `a:${key(1)}`, OUTRIGGER_ENCRYPTION_ACCEPT_UNENCRYPTED: 'true' }
    const fromVariable = await load({ yaml: without, env })
    expect(fromVariable.config.encryption.keys?.reveal()).toBe(`a:${key(1)}`)
    expect(fromVariable.config.encryption.acceptUnencrypted).toBe(true)
    for (const { config } of [fromFile, written, fromVariable]) {
      const shown = JSON.stringify([describeConfig(config), config])
      for (const fill of [1, 2]) expect(shown).not.toContain(key(fill).slice(0, 10))
    }
  })

  test.each([
    ['bad-keys', 'the key b is not 32 bytes in Base64'],
    ['no-key', 'there is no key in it'],
    ['empty', 'it is empty'],
    ['missing', 'there is no such file'],
  ])('is refused with a file of keys that is %s', async (file, reason) => {
    const faults = await faultsOf({ yaml: `${without}encryption: { keysFile: ${file} }`, files })
    expect(faults).toHaveLength(1)
    expect(faults[0]).toContain(`encryption.keysFile`)
    expect(faults[0]).toContain(reason)
    expect(faults[0]).not.toContain(key(1).slice(0, 10))
  })

  test('is refused with keys that are none, and the reason shows no key', async () => {
    const faults = await faultsOf({ yaml: `${without}encryption: { keys: "${key(1)}" }` })
    expect(faults).toHaveLength(1)
    expect(faults[0]).toContain('encryption.keys')
    expect(faults[0]).not.toContain(key(1).slice(0, 10))
  })

  test('is refused with keys in two places', async () => {
    const yaml = `${without}encryption: { keys: "a:${key(1)}", keysFile: keys }`
    expect(await faultsOf({ yaml, files })).toEqual([expect.stringContaining('either keys or keysFile, not both')])
  })

  test.each([
    ['broker', 'broker: embedded\nledger: { metadata: none, log: none }\n'],
    ['ledger.metadata', 'broker: kafka\nledger: { metadata: embedded, log: none }\n'],
    ['ledger.log', 'broker: kafka\nledger: { metadata: none, log: embedded }\n'],
  ])('is refused beside %s: embedded, which keeps messages as they are', async (path, yaml) => {
    const faults = await faultsOf({ yaml: `${yaml}encryption: { keysFile: keys }`, files })
    expect(faults).toHaveLength(1)
    expect(faults[0]).toContain(`${path}: expected`)
    expect(faults[0]).toContain('everything on disk is to be encrypted')
  })

  test('warns while files that are not encrypted are accepted', async () => {
    const withKeys = await load({ yaml: `${without}encryption: { keysFile: keys, acceptUnencrypted: true }`, files })
    expect(withKeys.warnings).toEqual([expect.stringContaining('Take it out when')])
    const alone = await load({ yaml: `${without}encryption: { acceptUnencrypted: true }` })
    expect(alone.warnings).toEqual([expect.stringContaining('nothing is encrypted')])
  })
})
