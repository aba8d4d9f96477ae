import { inspect } from 'node:util'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { KeyListError, keyIdPattern, keysInLine, newKeyLine, readKeyList } from '../../src/security/key-list.ts'

const base64 = (fill: number, bytes = 32): string => Buffer.alloc(bytes, fill).toString('base64')
const idsOf = (text: string): (string | undefined)[] => readKeyList(text).map(({ name }) => name.split('/')[0])

describe('a list of keys', () => {
  test('is one key a line, the active one first; comments, blank lines and line ends of any kind do not matter', () => {
    const text = `# the keys of orders\r\n\r\nnew:${base64(1)} # since May\r\n  old:${base64(2)}\r\n\n#x:${base64(3)}\noldest:${base64(4)}`
    expect(idsOf(text)).toEqual(['new', 'old', 'oldest'])
    expect(readKeyList(text)[0]?.secret.export()).toEqual(Buffer.alloc(32, 1))
  })

  test('may be one line with commas, as in an environment variable', () => {
    expect(idsOf(`a:${base64(1)},b:${base64(2)} , c:${base64(3)},`)).toEqual(['a', 'b', 'c'])
    expect(keysInLine(` a:x , b:y # c:z`)).toEqual(['a:x', 'b:y'])
    expect(keysInLine('# nothing')).toEqual([])
  })

  test('gives any keys back', () => {
    const key = fc.record({ id: fc.stringMatching(keyIdPattern), bytes: fc.uint8Array({ minLength: 32, maxLength: 32 }) }) // prettier-ignore
    fc.assert(
      fc.property(fc.uniqueArray(key, { minLength: 1, selector: ({ id }) => id }), (keys) => {
        const text = keys.map(({ id, bytes }) => newKeyLine(id, () => Buffer.from(bytes)).reveal()).join('\n')
        const read = readKeyList(text)
        expect(read.map(({ name, secret }) => ({ id: name.split('/')[0], bytes: new Uint8Array(secret.export()) }))).toEqual(keys) // prettier-ignore
        for (const { name } of read) expect(name.length).toBeLessThanOrEqual(62)
      }),
    )
  })

  test('tells keys with the same id apart by a check value, which is the same in every run', () => {
    const [one, other] = [readKeyList(`k:${base64(1)}`)[0], readKeyList(`k:${base64(2)}`)[0]]
    expect(one?.name).not.toBe(other?.name)
    expect(one?.name).toMatch(/^k\/[0-9a-f]{16}$/)
    expect(readKeyList(`k:${base64(1)}`)[0]?.name).toBe(one?.name)
    expect(one?.name).toBe('k/a7fb0937ed4468b3')
  })

  test.each([
    ['nothing', '', 'no key'],
    ['comments only', '# a\n\n', 'no key'],
    ['no id', base64(1), 'key 1 has no id'],
    ['an empty id', `:${base64(1)}`, 'key 1 has no id'],
    ['an id with a space', `a b:${base64(1)}`, 'key 1 has no id'],
    ['an id that is too long', `${'i'.repeat(41)}:${base64(1)}`, 'key 1 has no id'],
    ['an id twice', `a:${base64(1)}\na:${base64(2)}`, 'two keys have the id a'],
    ['31 bytes', `a:${base64(1)}\nb:${base64(2, 31)}`, 'the key b is not 32 bytes'],
    ['33 bytes', `b:${base64(2, 33)}`, 'the key b is not 32 bytes'],
    ['no Base64', `b:${'?'.repeat(44)}`, 'the key b is not 32 bytes'],
    ['Base64 that is not the usual one', `b:${base64(1).replace('=', '')}`, 'the key b is not 32 bytes'],
    ['no key', 'b:', 'the key b is not 32 bytes'],
  ])('is refused when it holds %s, and the reason shows no key', (_, text, reason) => {
    let error: unknown
    try {
      readKeyList(text)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(KeyListError)
    expect(error).toMatchObject({ name: 'KeyListError', code: 'key_list' })
    expect(String(error)).toContain(reason)
    for (const fill of [1, 2]) expect(inspect(error)).not.toContain(base64(fill).slice(0, 20))
  })

  test('gets a new key as a secret, which shows itself to nobody by mistake', () => {
    const line = newKeyLine('k', () => Buffer.alloc(32, 7))
    expect(`${inspect(line)}${JSON.stringify(line)}${String(line)}`).not.toContain(base64(7).slice(0, 8))
    expect(idsOf(line.reveal())).toEqual(['k'])
    expect(inspect(readKeyList(line.reveal()), { depth: 9 })).not.toContain(base64(7).slice(0, 8))
  })
})
