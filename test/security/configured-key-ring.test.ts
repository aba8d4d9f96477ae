import { rename, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Secret } from '../../src/base/secret.ts'
import type { KeyRing } from '../../src/journal/key-ring.ts'
import { configuredKeys, openKeyRing } from '../../src/security/configured-key-ring.ts'
import { keyOf } from '../journal/held-keys.ts'
import { HeldClock, temporaryDirectory } from '../journal/text-journal.ts'

const line = (id: string, fill: number): string => `${id}:${Buffer.alloc(32, fill).toString('base64')}\n`

interface Opened {
  readonly ring: KeyRing
  readonly clock: HeldClock
  readonly file: string
  readonly told: string[]
}

async function open(text: string): Promise<Opened> {
  const file = join(await temporaryDirectory(), 'keys')
  await writeFile(file, text)
  const clock = new HeldClock()
  const told: string[] = []
  const observer = {
    rotated: (name: string) => void told.push(name),
    unreadable: (error: unknown) => void told.push(String(error)),
  }
  const ring = openKeyRing({ keysFile: file, acceptUnencrypted: false }, clock, observer)
  if (ring === null) throw new Error('there is no ring')
  return { ring, clock, file, told }
}

describe('the key ring of a configuration', () => {
  test('is none without keys', () => {
    expect(openKeyRing({ acceptUnencrypted: true }, new HeldClock())).toBeNull()
    expect(configuredKeys({ acceptUnencrypted: true })).toEqual([])
  })

  test('takes keys from the configuration itself', () => {
    const settings = { keys: new Secret(`${line('a', 1).trim()},${line('b', 2)}`), acceptUnencrypted: true }
    const ring = openKeyRing(settings, new HeldClock())
    expect(ring?.active().name).toBe(keyOf('a', 1).name)
    expect(ring?.find(keyOf('b', 2).name)?.secret.equals(keyOf('b', 2).secret)).toBe(true)
    expect(ring?.find(keyOf('b', 3).name)).toBeNull()
    expect(ring?.acceptsUnencrypted).toBe(true)
    expect(configuredKeys(settings).map(({ name }) => name)).toEqual([keyOf('a', 1).name, keyOf('b', 2).name])
  })

  test('reads its file again after ten seconds, so that a rotation needs no restart, and tells of it', async () => {
    const { ring, clock, file, told } = await open(line('old', 1))
    await writeFile(`${file}.new`, line('new', 2) + line('old', 1))
    await rename(`${file}.new`, file)
    clock.monotonicMs = 9_999
    expect(ring.active().name).toBe(keyOf('old', 1).name)
    expect(told).toEqual([])
    clock.monotonicMs = 10_000
    expect(ring.active().name).toBe(keyOf('new', 2).name)
    expect(ring.find(keyOf('old', 1).name)).not.toBeNull()
    expect(told).toEqual([keyOf('new', 2).name])
    clock.monotonicMs = 50_000
    ring.active()
    expect(told).toHaveLength(1)
  })

  test('looks at once for a key that it does not know', async () => {
    const { ring, file } = await open(line('a', 1))
    expect(ring.find(keyOf('b', 2).name)).toBeNull()
    await writeFile(file, line('a', 1) + line('b', 2))
    expect(ring.find(keyOf('b', 2).name)).not.toBeNull()
    expect(ring.active().name).toBe(keyOf('a', 1).name)
  })

  test('goes on with the keys that it has while the file is away or no list of keys, and tells it once', async () => {
    const { ring, clock, file, told } = await open(line('a', 1))
    await writeFile(file, 'half of a k')
    for (let times = 1; times < 4; times++) {
      clock.monotonicMs += 10_000
      expect(ring.active().name).toBe(keyOf('a', 1).name)
    }
    await unlink(file)
    clock.monotonicMs += 10_000
    expect(ring.find('nobody/0')).toBeNull()
    expect(told).toHaveLength(1)
    expect(told[0]).toContain('has no id')
    await writeFile(file, line('b', 2))
    clock.monotonicMs += 10_000
    expect(ring.active().name).toBe(keyOf('b', 2).name)
    expect(told.slice(1)).toEqual([keyOf('b', 2).name])
    await writeFile(file, '')
    clock.monotonicMs += 10_000
    ring.active()
    expect(told).toHaveLength(3)
  })

  test('is not opened with a file that is missing or wrong', async () => {
    const file = join(await temporaryDirectory(), 'keys')
    const settings = { keysFile: file, acceptUnencrypted: false }
    expect(() => openKeyRing(settings, new HeldClock())).toThrow('ENOENT')
    await writeFile(file, 'no key')
    expect(() => openKeyRing(settings, new HeldClock())).toThrow('has no id')
    expect(() => configuredKeys(settings)).toThrow('has no id')
  })
})
