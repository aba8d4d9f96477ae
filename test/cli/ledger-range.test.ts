import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { backfillLedger } from '../../src/cli/ledger-backfill.ts'
import { LedgerCommandError, ledgerRange } from '../../src/cli/ledger-range.ts'
import { verifyLedger } from '../../src/cli/ledger-verify.ts'
import { FakeComparedBroker } from '../recorder/compared-broker.ts'
import { FakeMessageLog } from '../recorder/fake-message-log.ts'
import { FakeMetadataStore } from '../recorder/fake-metadata-store.ts'

const never = new AbortController().signal
const everything = { from: 'beginning', to: 1e12, topics: null, keptSince: 0 } as const

describe('the range of a command about the ledger', () => {
  test('goes from the beginning up to a minute ago, over all topics, when nothing is said', () => {
    expect(ledgerRange({ from: undefined, to: undefined, topics: [] }, 1e9, 5e8)).toEqual({
      from: 'beginning',
      to: 1e9 - 60_000,
      topics: null,
      keptSince: 5e8,
    })
  })

  test('takes times, and how long ago, and each topic once', () => {
    const asked = { from: { agoMs: 3_600_000 }, to: { at: 1e9 - 5 }, topics: ['a', 'b', 'a'] }
    expect(ledgerRange(asked, 1e9, 0)).toMatchObject({ from: 1e9 - 3_600_000, to: 1e9 - 5, topics: ['a', 'b'] })
  })

  test('must not be empty, nor name a topic that can not be', () => {
    expect(() => ledgerRange({ from: { at: 5 }, to: { at: 5 }, topics: [] }, 1e9, 0)).toThrow(LedgerCommandError)
    expect(() => ledgerRange({ from: undefined, to: undefined, topics: ['a b'] }, 1e9, 0)).toThrow(/“a b”/)
  })
})

describe('ledger verify and backfill', () => {
  const run = async (work: (out: PassThrough) => Promise<number>): Promise<[number, string]> => {
    const out = new PassThrough({ highWaterMark: 1e6 })
    const code = await work(out)
    out.end()
    return [code, await text(out)]
  }

  test('name differences for people, and end with 1; and with 0 once they are filled', async () => {
    const broker = new FakeComparedBroker()
    broker.send({ seq: 1 })
    const ledger = { metadata: new FakeMetadataStore(), log: null }
    const verify = () => run((out) => verifyLedger(broker, ledger, everything, { json: false }, out, never))
    expect(await verify()).toEqual([
      1,
      'missing row       orders 0/0  0123456789abc-1\n' +
        "1 missing, 0 extra, 0 different in 1 records (0 delivered more than once, 0 beyond the ledger's retention).\n",
    ])
    const options = { dryRun: true, batchMessagesMax: 10, batchBytesMax: 1e6, now: () => 1 }
    expect(await run((out) => backfillLedger(broker, ledger, everything, options, out, never))).toEqual([
      0,
      'Would write 1 rows and 0 entries, of 1 records.\n',
    ])
    await run((out) => backfillLedger(broker, ledger, everything, { ...options, dryRun: false }, out, never))
    expect((await verify())[0]).toBe(0)
  })

  test('compare no topic that the broker does not have', async () => {
    const broker = new FakeComparedBroker()
    broker.send({ seq: 1 })
    const ledger = { metadata: new FakeMetadataStore(), log: null }
    const range = { ...everything, topics: ['orders', 'oders'] }
    await expect(run((out) => verifyLedger(broker, ledger, range, { json: false }, out, never))).rejects.toThrow(
      /the broker has no topic “oders”/,
    )
  })

  test('need a ledger, and its schema', async () => {
    const broker = new FakeComparedBroker()
    const verify = (ledger: Parameters<typeof verifyLedger>[1]) =>
      run((out) => verifyLedger(broker, ledger, everything, { json: false }, out, never))
    await expect(verify({ metadata: null, log: null })).rejects.toThrow(/there is no ledger/)
    await expect(verify({ metadata: null, log: new FakeMessageLog({ schemaVersion: 0 }) })).rejects.toMatchObject({
      code: 'ledger_command_invalid',
      hint: 'Run “outrigger migrate” first.',
    })
  })
})
