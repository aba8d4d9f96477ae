import { describe, expect, test } from 'vitest'
import { UnavailableError } from '../../src/base/errors.ts'
import type { MetadataRow } from '../../src/recorder/metadata-store.ts'
import { logEntry } from '../recorder/message-log-contract.ts'
import { deadRow, metadataRow } from '../recorder/metadata-store-contract.ts'
import type { AdminAnswer } from './admin-rig.ts'
import { AdminRig } from './admin-rig.ts'

const never = new AbortController().signal
const journalId = '0123456789abc'
const noon = Date.parse('2026-03-01T12:00:00Z')
const away = new UnavailableError('ledger_unavailable', 'the ledger can’t be asked: refused', {
  retryAfterSeconds: 5,
  hint: 'Is it up?',
})

const row = (seq: number, parts: Partial<MetadataRow> = {}): MetadataRow =>
  metadataRow({ journalId, seq, offset: seq, acceptedAt: noon + seq * 1000, finishedAt: noon + seq * 1000 + 20, ...parts }) // prettier-ignore
const idsIn = ({ json }: AdminAnswer): string[] => (json as { messages: { id: string }[] }).messages.map(({ id }) => id)
const nextIn = ({ json }: AdminAnswer): string | null => (json as { next: string | null }).next
const seqs = (answer: AdminAnswer): number[] => idsIn(answer).map((id) => Number(id.split('-')[1]))

describe('GET /ledger/messages', () => {
  test('gives the metadata of messages, newest first, with times that people can read', async () => {
    await using rig = await AdminRig.start()
    await rig.ledger.metadata.write(
      [
        row(1, {
          key: Buffer.from('customer-7'),
          producer: 'shop',
          contentType: 'text/plain',
          headers: '[{"name":"source","value":"web"}]',
          traceId: 'a'.repeat(32),
          recordedAt: noon + 2000,
        }),
        deadRow({ journalId, seq: 2, acceptedAt: noon + 2000, finishedAt: noon + 3000, key: Buffer.from([0xff]) }),
      ],
      never,
    )
    const answer = await rig.get('/ledger/messages')
    expect(answer.status).toBe(200)
    expect(answer.json).toMatchObject({
      messages: [
        {
          id: `${journalId}-2`,
          status: 'dead',
          partition: null,
          key: null,
          keyBase64: '/w==',
          diedAt: '2026-03-01T12:00:03.000Z',
          reason: 'MESSAGE_TOO_LARGE',
          headers: [],
        },
        {
          id: `${journalId}-1`,
          status: 'delivered',
          topic: 'orders',
          partition: 0,
          offset: 1,
          key: 'customer-7',
          keyBase64: null,
          producer: 'shop',
          contentType: 'text/plain',
          headers: [{ name: 'source', value: 'web' }],
          traceId: 'a'.repeat(32),
          acceptedAt: '2026-03-01T12:00:01.000Z',
          deliveredAt: '2026-03-01T12:00:01.020Z',
          recordedAt: '2026-03-01T12:00:02.000Z',
        },
      ],
      next: null,
    })
  })

  test.each([
    ['topic=other', [5]],
    ['topic=orders&partition=1', [4]],
    ['status=dead', [3]],
    ['key=k%2B1', [2]],
    ['key=k+1', [2]],
    ['keyBase64=aysx', [2]],
    ['from=2026-03-01T12:00:04Z', [5, 4]],
    ['from=2026-03-01T14:00:04%2B02:00', [5, 4]],
    ['from=2026-03-01T14:00:04+02:00', [5, 4]],
    [`from=${noon + 2000}&to=${noon + 4000}`, [3, 2]],
    ['limit=2', [5, 4]],
    ['topic=nothing', []],
  ])('?%s narrows it down', async (query, expected) => {
    await using rig = await AdminRig.start()
    const dead = deadRow({ journalId, seq: 3, acceptedAt: noon + 3000 })
    const rows = [
      row(1),
      row(2, { key: Buffer.from('k+1') }),
      dead,
      row(4, { partition: 1 }),
      row(5, { topic: 'other' }),
    ]
    await rig.ledger.metadata.write(rows, never)
    expect(seqs(await rig.get(`/ledger/messages?${query}`))).toEqual(expected)
  })

  test('a key that is longer than rows hold is found by its beginning', async () => {
    await using rig = await AdminRig.start()
    await rig.ledger.metadata.write([row(1, { key: Buffer.alloc(255, 'k') })], never)
    expect(seqs(await rig.get(`/ledger/messages?key=${'k'.repeat(400)}`))).toEqual([1])
  })

  test('pages by a cursor keep the conditions, and miss and repeat nothing', async () => {
    await using rig = await AdminRig.start()
    const key = Buffer.from('a&b=c ü')
    // Many at the same time: the position alone tells them apart.
    const rows = Array.from({ length: 25 }, (_, i) => row(i + 1, { key, acceptedAt: noon + Math.floor(i / 10) }))
    await rig.ledger.metadata.write([...rows, row(99, { key: Buffer.from('other') })], never)
    const seen: number[] = []
    let path: string | null = `/ledger/messages?key=${encodeURIComponent('a&b=c ü')}&limit=10`
    for (let pages = 0; path !== null; pages++) {
      expect(pages).toBeLessThan(4)
      const answer: AdminAnswer = await rig.get(path)
      expect(answer.status).toBe(200)
      seen.push(...seqs(answer))
      path = nextIn(answer)
    }
    expect(seen).toEqual(rows.map(({ seq }) => seq).toReversed())
  })

  test.each([
    ['nonsense=1', 'parameter_unknown', 'nonsense'],
    ['topic=a&topic=b', 'parameter_conflict', 'topic'],
    ['key=a&keyBase64=YQ%3D%3D', 'parameter_conflict', 'keyBase64'],
    ['key=%ff', 'parameter_invalid', 'key'],
    ['keyBase64=*', 'parameter_invalid', 'keyBase64'],
    ['partition=x', 'parameter_invalid', 'partition'],
    ['status=lost', 'parameter_invalid', 'delivered or dead'],
    ['from=yesterday', 'parameter_invalid', 'from'],
    ['to=2026-02-30T00:00:00Z', 'parameter_invalid', 'to'],
    ['limit=0', 'parameter_invalid', 'from 1 to 1000'],
    ['limit=1001', 'parameter_invalid', 'from 1 to 1000'],
    ['cursor=abc', 'parameter_invalid', 'cursor'],
  ])('?%s is refused as %s', async (query, code, named) => {
    await using rig = await AdminRig.start()
    const answer = await rig.get(`/ledger/messages?${query}`)
    expect(answer).toMatchObject({ status: 400, json: { code, detail: expect.stringContaining(named) } })
  })
})

describe('GET /ledger/messages/{id}', () => {
  test('gives one row, and says when there is none', async () => {
    await using rig = await AdminRig.start()
    await rig.ledger.metadata.write([row(1)], never)
    expect(await rig.get(`/ledger/messages/${journalId}-1`)).toMatchObject({
      status: 200,
      json: { id: `${journalId}-1`, status: 'delivered' },
    })
    for (const id of [`${journalId}-2`, 'nonsense'])
      expect(await rig.get(`/ledger/messages/${id}`)).toMatchObject({
        status: 404,
        json: { code: 'message_not_found', detail: expect.stringContaining(id) },
      })
    expect(await rig.get(`/ledger/messages/${journalId}-1?a=1`)).toMatchObject({ json: { code: 'parameter_unknown' } })
  })
})

describe('GET /ledger/messages/{id}/content', () => {
  const path = `/ledger/messages/${journalId}-1/content`
  const contentOf = async (parts: Parameters<typeof logEntry>[0]): Promise<AdminAnswer> => {
    await using rig = await AdminRig.start()
    await rig.ledger.metadata.write([row(1)], never)
    await rig.ledger.log.write([logEntry({ topic: 'orders', offset: 1, seq: 1, ...parts })], noon, never)
    return await rig.get(path)
  }

  test('gives the bytes of the value, and all else as headers', async () => {
    const value = Buffer.from([0, 0xff, 0x80, 0x0a])
    const { status, headers, body } = await contentOf({
      value,
      key: Buffer.from('schlüssel'),
      headers: [
        ['source', Buffer.from('web')],
        ['source', Buffer.from('ü')],
        ['empty', Buffer.alloc(0)],
      ],
      contentType: 'application/x-thing',
      timestamp: noon,
      acceptedAt: noon + 1,
      deliveredAt: noon + 2,
    })
    expect({ status, body }).toEqual({ status: 200, body: value })
    expect(Object.fromEntries(headers)).toMatchObject({
      'content-type': 'application/x-thing',
      'content-length': '4',
      'outrigger-id': `${journalId}-1`,
      'outrigger-topic': 'orders',
      'outrigger-partition': '0',
      'outrigger-offset': '1',
      'outrigger-key': Buffer.from('schlüssel').toString('latin1'),
      'outrigger-header-source': `web, ${Buffer.from('ü').toString('latin1')}`,
      'outrigger-header-empty': '',
      'outrigger-timestamp': '2026-03-01T12:00:00.000Z',
      'outrigger-accepted-at': '2026-03-01T12:00:00.001Z',
      'outrigger-delivered-at': '2026-03-01T12:00:00.002Z',
    })
    expect(headers.has('outrigger-left-out')).toBe(false)
  })

  test('lets no browser take it for a page of this origin', async () => {
    const { headers } = await contentOf({ contentType: 'text/html', value: Buffer.from('<script>alert(1)</script>') })
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('content-security-policy')).toContain('sandbox')
  })

  test('a tombstone is 204, and an empty value 200', async () => {
    const tombstone = await contentOf({ value: null, key: Buffer.from('k') })
    expect(tombstone).toMatchObject({ status: 204, body: Buffer.alloc(0) })
    expect(tombstone.headers.get('outrigger-key')).toBe('k')
    expect(tombstone.headers.has('content-length')).toBe(false)
    const empty = await contentOf({ value: Buffer.alloc(0) })
    expect(empty).toMatchObject({ status: 200, body: Buffer.alloc(0) })
    expect(empty.headers.get('content-type')).toBe('application/octet-stream')
  })

  test('what no header can hold breaks nothing, and is told', async () => {
    const { status, headers } = await contentOf({
      key: Buffer.from('a\r\nSet-Cookie: b'),
      headers: [
        ['with space', Buffer.from('x')],
        ['breaks', Buffer.from('a\nb')],
        ['blank-end', Buffer.from('a ')],
        ['large', Buffer.alloc(20_000, 'x')],
        ['fine', Buffer.from('x')],
      ],
      contentType: 'text/plain\r\nX: y',
    })
    expect(status).toBe(200)
    expect(headers.get('outrigger-key-base64')).toBe(Buffer.from('a\r\nSet-Cookie: b').toString('base64'))
    expect(headers.has('outrigger-key')).toBe(false)
    expect(headers.has('set-cookie')).toBe(false)
    expect(headers.get('outrigger-header-fine')).toBe('x')
    expect(headers.get('outrigger-left-out')).toBe('4')
    expect(headers.get('content-type')).toBe('application/octet-stream')
  })

  test('HEAD gives the length and no body', async () => {
    await using rig = await AdminRig.start()
    await rig.ledger.metadata.write([row(1)], never)
    await rig.ledger.log.write([logEntry({ topic: 'orders', offset: 1 })], noon, never)
    const answer = await rig.get(path, 'HEAD')
    expect(answer).toMatchObject({ status: 200, body: Buffer.alloc(0) })
    expect(answer.headers.get('content-length')).toBe('5')
    expect(await rig.get(path, 'DELETE')).toMatchObject({ status: 405 })
  })

  test('is not found when the log does not have it', async () => {
    await using rig = await AdminRig.start()
    await rig.ledger.metadata.write([row(1)], never)
    expect(await rig.get(path)).toMatchObject({ status: 404, json: { code: 'message_not_found' } })
  })
})

describe('GET /ledger/exceptions', () => {
  test('lists what a store lacks, page by page', async () => {
    await using rig = await AdminRig.start()
    const refused = (number: number) =>
      ({
        kind: 'refused',
        number,
        at: noon,
        id: `${journalId}-${number}`,
        topic: 'orders',
        partition: 0,
        offset: number,
        reason: 'ER_DATA_TOO_LONG',
        detail: 'too long',
      }) as const
    rig.ledger.noted.set('log', [refused(1), refused(2), refused(3)])
    const first = await rig.get('/ledger/exceptions?store=log&limit=2')
    expect(first.json).toMatchObject({
      exceptions: [{ number: 1, kind: 'refused', at: '2026-03-01T12:00:00.000Z' }, { number: 2 }],
      next: '/ledger/exceptions?store=log&after=2&limit=2',
    })
    const second = await rig.get(nextIn(first) as string)
    expect(second.json).toMatchObject({ exceptions: [{ number: 3 }] })
    // Pages end when they are large, too: only an empty one is the last.
    expect((await rig.get(nextIn(second) as string)).json).toEqual({ exceptions: [], next: null })
    expect((await rig.get('/ledger/exceptions?store=metadata')).json).toEqual({ exceptions: [], next: null })
  })

  test.each(['', '?store=both', '?store=log&after=x', '?store=log&limit=0'])('%s is refused', async (query) => {
    await using rig = await AdminRig.start()
    expect(await rig.get(`/ledger/exceptions${query}`)).toMatchObject({
      status: 400,
      json: { code: 'parameter_invalid' },
    })
  })
})

const id = `${journalId}-1`
const paths = ['/ledger/messages', `/ledger/messages/${id}`, `/ledger/messages/${id}/content`]

test('without a store it is said which setting turns it on', async () => {
  await using rig = await AdminRig.start()
  rig.ledger.stores = []
  for (const path of [...paths, '/ledger/exceptions?store=metadata'])
    expect(await rig.get(path)).toMatchObject({
      status: 404,
      json: { code: 'not_found', detail: expect.stringContaining('ledger.metadata') },
    })
  rig.ledger.stores = ['metadata']
  for (const path of [`/ledger/messages/${id}/content`, '/ledger/exceptions?store=log'])
    expect(await rig.get(path)).toMatchObject({
      status: 404,
      json: { code: 'not_found', detail: expect.stringContaining('ledger.log') },
    })
})

test('a store that can’t be asked is 503 with a time to come back, and no failure of Outrigger', async () => {
  await using rig = await AdminRig.start()
  rig.ledger.failure = away
  for (const path of [...paths, '/ledger/exceptions?store=log']) {
    const answer = await rig.get(path)
    expect(answer).toMatchObject({
      status: 503,
      json: { code: 'ledger_unavailable', detail: expect.stringContaining('Is it up?'), retry: true },
    })
    expect(answer.headers.get('retry-after')).toBe('5')
  }
  expect(rig.failures).toEqual([])
})

test('a path that is not there names those that are', async () => {
  await using rig = await AdminRig.start()
  for (const path of ['/ledger', '/ledger/messages/', `/ledger/messages/${id}/value`])
    expect(await rig.get(path)).toMatchObject({
      status: 404,
      json: { code: 'not_found', detail: expect.stringContaining('/ledger/messages/{id}/content') },
    })
})
