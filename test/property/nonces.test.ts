import * as fc from 'fast-check'
import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import type { CipherGCM } from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { afterAll, expect, test } from 'vitest'
import { UnavailableError } from '../../src/base/errors.ts'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import { HeldKeys, keyOf } from '../journal/held-keys.ts'
import { MemoryDisk } from '../journal/memory-disk.ts'
import { openText } from '../journal/text-journal.ts'
import { WatchedDisk } from '../journal/watched-disk.ts'

/**
 * Everything that is encrypted in this process: under which key, with which nonce, which text about which other. Also what
 * was never written: a nonce is used as soon as somebody could have seen the ciphertext.
 */
class Sealings {
  readonly #texts = new Map<string, string>()
  /** Pairs of key and nonce that had two texts. */
  repeated = 0

  get count(): number {
    return this.#texts.size
  }

  begin(key: crypto.KeyObject | Buffer, nonce: Buffer): (text: string) => void {
    const bytes = key instanceof crypto.KeyObject ? key.export() : key
    const pair = `${bytes.toString('hex')} ${nonce.toString('hex')}`
    return (text) => {
      const known = this.#texts.get(pair)
      if (known !== undefined && known !== text) this.repeated++
      this.#texts.set(pair, text)
    }
  }
}

let sealings = new Sealings()
const { createCipheriv } = crypto

function watched(...given: Parameters<typeof createCipheriv>): CipherGCM {
  const cipher = createCipheriv(...given) as CipherGCM
  const end = sealings.begin(given[1] as crypto.KeyObject | Buffer, Buffer.from(given[2] as Buffer))
  let text = ''
  const seen = {
    setAAD(about: Buffer) {
      text += `${about.toString('latin1')}|`
      return cipher.setAAD(about)
    },
    update(plain: Buffer) {
      text += plain.toString('latin1')
      return cipher.update(plain)
    },
    final() {
      end(text)
      return cipher.final()
    },
    getAuthTag: () => cipher.getAuthTag(),
  }
  return seen as unknown as CipherGCM
}

crypto.createCipheriv = watched
syncBuiltinESMExports()
afterAll(() => {
  crypto.createCipheriv = createCipheriv
  syncBuiltinESMExports()
})

const keys = [keyOf('first', 1), keyOf('second', 2), keyOf('third', 3)]
const operations = ['write', 'sync', 'rename', 'syncDirectory', 'open create', 'truncate'] as const

interface Step {
  readonly kind: 'append' | 'fault' | 'rotate' | 'release' | 'move'
  readonly size: number
}

interface Life {
  readonly steps: readonly Step[]
  /** Disk operations until the process dies; beyond them, it ends by itself. */
  readonly operations: number
  readonly end: 'kill' | 'power off' | 'close'
}

/** Processes, one after the other, on one disk, which end in the midst of anything. */
async function live(lives: readonly Life[], seed: number): Promise<void> {
  let state = seed
  const random = (): number => (state = (state * 48271) % 2147483647) / 2147483647
  const memory = new MemoryDisk(random)
  for (const life of lives) {
    const { disk, died } = memory.boot(life.operations)
    // A fault of the disk may keep it from starting; nothing else may.
    const ended = run(new WatchedDisk(disk), life).catch(failed)
    await Promise.race([ended, died])
    if (life.end === 'power off') memory.powerOff()
    else memory.kill()
  }
}

async function run(disk: WatchedDisk, { steps, end }: Life): Promise<void> {
  const ring = new HeldKeys(...keys)
  const { journal, clock } = await openText('/journal', disk, { keys: ring })
  const cursor = await CursorFile.open(disk, '/journal.cursor', journal.id, { seq: 1, mark: 1 }, ring)
  const appends: Promise<unknown>[] = []
  for (const { kind, size } of steps) {
    clock.monotonicMs += size
    switch (kind) {
      case 'append':
        appends.push(journal.append(['x'.repeat(size * 17), 'y']).catch(refused))
        if (size % 3 !== 0) await Promise.all(appends)
        break
      case 'fault':
        disk.fail({ operation: operations[size % operations.length] as 'write', after: size % 4, times: 1 + (size % 3), written: (size % 10) / 10 }) // prettier-ignore
        break
      case 'rotate':
        ring.keys = [...ring.keys.slice(1), ring.keys[0] as (typeof keys)[0]]
        break
      case 'release':
        await journal.release(journal.end.nextSeq - (size % 5)).catch(failed)
        break
      case 'move':
        await cursor.write({ seq: journal.end.nextSeq, mark: size }).catch(failed)
        break
    }
  }
  await Promise.all(appends)
  disk.mend()
  if (end === 'close') await journal.close()
}

function refused(error: unknown): void {
  if (!(error instanceof UnavailableError)) throw error
}

function failed(error: unknown): void {
  assert.match(String(error), /EIO/)
}

const step = fc.record({
  kind: fc.constantFrom<Step['kind']>('append', 'append', 'append', 'fault', 'rotate', 'release', 'move'),
  size: fc.nat(240),
})
const life = fc.record({
  steps: fc.array(step, { maxLength: 20 }),
  operations: fc.oneof(fc.nat(150), fc.constant(1e9)),
  end: fc.constantFrom<Life['end']>('kill', 'power off', 'close'),
})

test('no nonce is used for two texts, whatever fails, and whenever a process dies', { timeout: 60_000 }, async () => {
  let count = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(life, { minLength: 2, maxLength: 6 }),
      fc.integer({ min: 1, max: 2 ** 30 }),
      async (lives, seed) => {
        // prettier-ignore
        sealings = new Sealings()
        await live(lives, seed)
        count += sealings.count
        expect(sealings.repeated).toBe(0)
      },
    ),
    { numRuns: 400 },
  )
  expect(count).toBeGreaterThan(2000)
})

test('the watch itself sees a nonce that is used twice, and lets the same text pass', () => {
  sealings = new Sealings()
  const seal = (text: string): void => {
    const cipher = crypto.createCipheriv('aes-256-gcm', Buffer.alloc(32), Buffer.alloc(12))
    cipher.setAAD(Buffer.from('about'))
    cipher.update(Buffer.from(text))
    cipher.final()
  }
  seal('one')
  seal('one')
  expect(sealings.repeated).toBe(0)
  seal('two')
  expect(sealings.repeated).toBe(1)
})
