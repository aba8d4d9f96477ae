import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import type { LocalAnswer } from '../../src/cli/local-request.ts'
import type { ShowSources } from '../../src/cli/show.ts'
import { show, sidecarAt } from '../../src/cli/show.ts'
import { FakeMessageLog } from '../recorder/fake-message-log.ts'
import { FakeMetadataStore } from '../recorder/fake-metadata-store.ts'
import { logEntry } from '../recorder/message-log-contract.ts'
import { deadRow, metadataRow } from '../recorder/metadata-store-contract.ts'
import { TextOutput } from './text-output.ts'

const never = new AbortController().signal
const journalId = '0123456789abc'
const id = `${journalId}-7`
const noon = Date.parse('2026-03-01T12:00:00Z')
const row = metadataRow({
  journalId,
  seq: 7,
  topic: 'orders',
  partition: 2,
  offset: 41,
  key: Buffer.from('customer-7'),
  producer: 'shop',
  contentType: 'text/plain',
  headers: '[{"name":"source","value":"web\\n"},{"name":"raw","valueBase64":"/w=="}]',
  acceptedAt: noon,
  finishedAt: noon + 12,
  recordedAt: noon + 80,
  attempts: 2,
})

const says = (body: object, status = 200): ShowSources['askSidecar'] => {
  const answer: LocalAnswer = { status, body: JSON.stringify(body) }
  return () => Promise.resolve(answer)
}
const isDown: ShowSources['askSidecar'] = () => Promise.reject(new Error('connect ECONNREFUSED 127.0.0.1:4110'))
const knowsNothing = says({ code: 'message_not_found', detail: 'not known' }, 404)

async function shown(parts: Partial<ShowSources>, options: { json?: boolean; content?: boolean } = {}) {
  const out = new TextOutput()
  const err = new TextOutput()
  const sources = { askSidecar: isDown, metadata: null, log: null, ...parts }
  const code = await show(sources, { journalId, seq: 7, json: false, content: false, ...options }, out, err, never)
  return { code, out: out.text, err: err.text }
}

async function shownJson(parts: Partial<ShowSources>, content = false) {
  const { code, out, err } = await shown(parts, { json: true, content })
  return { code, err, ...(JSON.parse(out) as Record<string, unknown>) }
}

async function metadataWith(...rows: Parameters<FakeMetadataStore['write']>[0]): Promise<FakeMetadataStore> {
  const store = new FakeMetadataStore()
  await store.write(rows, never)
  return store
}

async function logWith(parts: Parameters<typeof logEntry>[0] = {}): Promise<FakeMessageLog> {
  const log = new FakeMessageLog()
  const entry = logEntry({ topic: 'orders', partition: 2, offset: 41, journalId, seq: 7, acceptedAt: noon, ...parts })
  await log.write([entry], noon, never)
  return log
}

describe('what is shown of a message', () => {
  test('is all that the ledger knows', async () => {
    const { code, out, err } = await shown({ metadata: await metadataWith(row), askSidecar: knowsNothing })
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).toBe(
      [
        `message       ${id}`,
        'state         delivered',
        'topic         orders',
        'partition     2',
        'offset        41',
        'accepted      2026-03-01T12:00:00.000Z',
        'delivered     2026-03-01T12:00:00.012Z (12 ms later)',
        'attempts      2',
        'recorded      2026-03-01T12:00:00.080Z',
        'key           customer-7',
        'producer      shop',
        'content type  text/plain',
        'value         5 bytes',
        'header        source: web\\n',
        'header        raw: /w== (Base64)',
        'sidecar       knows nothing of it',
        'metadata      knows it',
        '',
      ].join('\n'),
    )
  })

  test('is what the sidecar knows, when there is no ledger', async () => {
    const fate = { id, state: 'delivered', topic: 'orders', partition: 2, offset: 41, deliveredAt: '2026-03-01T12:00:00.012Z', attempts: 1 } // prettier-ignore
    expect(await shownJson({ askSidecar: says(fate) })).toMatchObject({
      code: 0,
      ...fate,
      acceptedAt: null,
      recordedAt: null,
      sources: {
        sidecar: { answer: 'known' },
        metadata: { answer: 'not_asked', why: expect.stringContaining('ledger.metadata') },
      },
    })
    const accepted = await shown({ askSidecar: says({ id, state: 'accepted' }), metadata: await metadataWith() })
    expect(accepted.code).toBe(0)
    expect(accepted.out).toMatch(/^state +accepted$/m)
    expect(accepted.out).toMatch(/^metadata +knows nothing of it$/m)
  })

  test('is what the ledger knows when the sidecar does not run, and says so', async () => {
    expect(await shownJson({ metadata: await metadataWith(row) })).toMatchObject({
      code: 0,
      state: 'delivered',
      topic: 'orders',
      partition: 2,
      offset: 41,
      key: 'customer-7',
      acceptedAt: '2026-03-01T12:00:00.000Z',
      deliveredAt: '2026-03-01T12:00:00.012Z',
      diedAt: null,
      recordedAt: '2026-03-01T12:00:00.080Z',
      attempts: 2,
      headers: [
        { name: 'source', value: 'web\n' },
        { name: 'raw', valueBase64: '/w==' },
      ],
      sources: { sidecar: { answer: 'not_asked', why: expect.stringContaining('ECONNREFUSED') } },
    })
  })

  test('is why and when a message died', async () => {
    const dead = deadRow({ journalId, seq: 7, acceptedAt: noon, finishedAt: noon + 5, reason: 'MESSAGE_TOO_LARGE' })
    const { out } = await shown({ metadata: await metadataWith(dead) })
    expect(out).toMatch(/^state +dead$/m)
    expect(out).toMatch(/^died +2026-03-01T12:00:00.005Z \(5 ms later\)$/m)
    expect(out).toMatch(/^reason +MESSAGE_TOO_LARGE$/m)
    expect(out).not.toMatch(/^(offset|delivered)/m)
    const fate = { state: 'dead', topic: 'orders', reason: 'r', diedAt: '2026-03-01T12:00:00.005Z', attempts: 1 }
    expect(await shownJson({ askSidecar: says(fate) })).toMatchObject({ code: 0, ...fate, deliveredAt: null })
  })

  test('is why and when a message was lost', async () => {
    const fate = { state: 'lost', reason: 'dropped', lostAt: '2026-03-01T12:00:00.005Z' }
    expect(await shownJson({ askSidecar: says(fate) })).toMatchObject({ code: 0, ...fate, topic: null, diedAt: null })
    const { out } = await shown({ askSidecar: says(fate) })
    expect(out).toMatch(/^state +lost$/m)
    expect(out).toMatch(/^lost +2026-03-01T12:00:00.005Z$/m)
    expect(out).toMatch(/^reason +dropped$/m)
  })

  test('is nothing, with 1, when nobody knows it, and who could not be asked', async () => {
    const metadata = new FakeMetadataStore({ schemaVersion: 0 })
    const { code, out, err } = await shown({ metadata })
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toMatch(/^state +nothing is known of it$/m)
    expect(err).toMatch(/^sidecar +could not be asked: connect ECONNREFUSED/m)
    expect(err).toMatch(/^metadata +could not be asked: the fake store has no schema yet. Migrate it.$/m)
    expect(await shownJson({ askSidecar: knowsNothing, metadata: await metadataWith() })).toMatchObject({
      code: 1,
      state: null,
      sources: { sidecar: { answer: 'unknown' }, metadata: { answer: 'unknown' } },
    })
  })

  test.each([
    ['a refusal', says({ code: 'ledger_unavailable', detail: 'the ledger is away' }, 503), 'the ledger is away'],
    ['another server', () => Promise.resolve({ status: 200, body: '<html>' }), 'it answered 200'],
    ['another API', says({ state: 'on its way' }), 'it answered 200'],
    ['a fate that is none', says({ state: 'delivered', offset: '41' }), 'it answered 200'],
    ['no port', null, 'publish.listen'],
  ])('takes %s for no answer of the sidecar', async (_, askSidecar, why) => {
    expect(await shownJson({ askSidecar })).toMatchObject({
      code: 1,
      sources: { sidecar: { answer: 'not_asked', why: expect.stringContaining(why) } },
    })
  })
})

describe('the content', () => {
  test('is printed from the log, harmless to a terminal', async () => {
    const log = await logWith({ value: Buffer.from('a\n\u001b[2Jb') })
    const { code, out } = await shown({ metadata: await metadataWith(row), log }, { content: true })
    expect(code).toBe(0)
    expect(out.endsWith('\na\n\\u{1b}[2Jb\n')).toBe(true)
    expect(out).toMatch(/^message log +knows it$/m)
  })

  test('is given as JSON in Base64 when it is not UTF-8', async () => {
    const metadata = await metadataWith(row)
    expect(await shownJson({ metadata, log: await logWith({ value: Buffer.from([0xff]) }) }, true)).toMatchObject({
      valueBase64: '/w==',
      sources: { log: { answer: 'known' } },
    })
    expect(await shownJson({ metadata, log: await logWith({ value: null }) }, true)).toMatchObject({ value: null })
  })

  test('is found by what the sidecar says, too', async () => {
    const askSidecar = says({ state: 'delivered', topic: 'orders', partition: 2, offset: 41 })
    expect(await shownJson({ askSidecar, log: await logWith() }, true)).toMatchObject({
      value: 'value',
      valueBytes: 5,
      acceptedAt: '2026-03-01T12:00:00.000Z',
    })
  })

  test('of another message at the same place is not taken for this one’s', async () => {
    const log = await logWith({ seq: 8, value: Buffer.from('another') })
    const answer = await shownJson({ metadata: await metadataWith(row), log }, true)
    expect(answer).toMatchObject({ code: 0, sources: { log: { answer: 'unknown' } } })
    expect(answer).not.toHaveProperty('value')
  })

  test('can’t be found when nobody knows where it is, or there is no log', async () => {
    expect(await shownJson({ log: await logWith() }, true)).toMatchObject({
      code: 1,
      sources: { log: { answer: 'not_asked', why: expect.stringContaining('where') } },
    })
    expect(await shownJson({ metadata: await metadataWith(row) }, true)).toMatchObject({
      code: 0,
      sources: { log: { answer: 'not_asked', why: expect.stringContaining('ledger.log') } },
    })
  })
})

describe('the sidecar', () => {
  test('is asked at the first listener, and not where nobody knows its port', async () => {
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(`${request.headers.host} ${request.url}`)
      response.end('{}')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = server.address() as AddressInfo
      const ask = sidecarAt([
        { kind: 'tcp', host: '0.0.0.0', port },
        { kind: 'tcp', host: '127.0.0.1', port: 1 },
      ])
      expect(await ask?.('/messages/x')).toEqual({ status: 200, body: '{}' })
      expect(asked).toEqual(['localhost /messages/x'])
    } finally {
      server.close()
    }
    expect(sidecarAt([{ kind: 'tcp', host: '127.0.0.1', port: 0 }])).toBeNull()
    expect(sidecarAt([])).toBeNull()
  })
})
