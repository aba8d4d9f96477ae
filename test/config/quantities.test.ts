import * as fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import {
  durationPattern,
  formatDuration,
  formatSize,
  readDuration,
  readSize,
  sizePattern,
} from '../../src/config/quantities.ts'

describe('a size', () => {
  it.each([
    ['512', 512],
    [512, 512],
    [0, 0],
    ['64KiB', 65536],
    ['10MiB', 10 * 2 ** 20],
    ['1GiB', 2 ** 30],
    ['2TiB', 2 ** 41],
    ['64KB', 64_000],
    ['10MB', 10_000_000],
    ['1GB', 1e9],
    ['1TB', 1e12],
  ])('reads %j as %d bytes', (text, bytes) => {
    expect(readSize(text)).toEqual({ ok: true, value: bytes })
  })

  it.each([
    ['10mb', '10MB'],
    ['10 MiB', '10MiB'],
    ['10Mi', '10MiB'],
    ['10M', '10MB'],
    ['1.5GiB', '1536MiB'],
    [' 1KiB', '1KiB'],
  ])('refuses %j and says that %s is probably meant', (text, meant) => {
    expect(readSize(text)).toEqual({ ok: false, hint: `did you mean ${meant}?` })
  })

  it.each([
    -1,
    1.5,
    Number.NaN,
    Infinity,
    2 ** 53,
    '-1',
    '',
    'MiB',
    '1XiB',
    '99999999TiB',
    '0x10',
    '1e3',
    null,
    true,
    [],
  ])('refuses %j', (input) => {
    expect(readSize(input)).toMatchObject({ ok: false })
  })

  test('is read back from its shortest form', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (bytes) => {
        expect(readSize(formatSize(bytes))).toEqual({ ok: true, value: bytes })
        expect(formatSize(bytes)).toMatch(new RegExp(sizePattern))
      }),
    )
    fc.assert(
      fc.property(fc.nat(8000), fc.constantFrom('KiB', 'MiB', 'GiB', 'TiB', 'KB', 'MB', 'GB', 'TB'), (count, unit) => {
        const reading = readSize(`${count}${unit}`)
        expect(reading.ok && readSize(formatSize(reading.value))).toEqual(reading)
      }),
    )
  })
})

describe('a duration', () => {
  it.each([
    ['50ms', 50],
    ['30s', 30_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['7d', 604_800_000],
    [0, 0],
    ['0', 0],
    ['0s', 0],
  ])('reads %j as %d ms', (text, ms) => {
    expect(readDuration(text)).toEqual({ ok: true, value: ms })
  })

  it.each([30, '30', 1.5])('refuses %j, which has no unit', (input) => {
    expect(readDuration(input)).toEqual({ ok: false, hint: `a duration needs a unit: ${input}s, or ${input}ms` })
  })

  it.each([
    ['30 s', '30s'],
    ['5min', '5m'],
    ['2 Hours', '2h'],
    ['1.5s', '1500ms'],
    ['1h30m', '90m'],
  ])('refuses %j and says that %s is probably meant', (text, meant) => {
    expect(readDuration(text)).toEqual({ ok: false, hint: `did you mean ${meant}?` })
  })

  it.each(['', 's', '-1s', '5w', '1.0001ms', '999999999999d', 'toString', '1constructor', null, false, {}])(
    'refuses %j',
    (input) => {
      expect(readDuration(input)).toMatchObject({ ok: false })
    },
  )

  test('is read back from its shortest form', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (ms) => {
        expect(readDuration(formatDuration(ms))).toEqual({ ok: true, value: ms })
        expect(formatDuration(ms)).toMatch(new RegExp(durationPattern))
      }),
    )
  })
})

test('no text makes the readers throw', () => {
  fc.assert(
    fc.property(fc.string(), fc.constantFrom('', 'ms', 'd', 'MiB', 'm'), (text, unit) => {
      expect(readSize(text + unit)).toHaveProperty('ok')
      expect(readDuration(text + unit)).toHaveProperty('ok')
    }),
  )
})
