import { describe, expect, it, test } from 'vitest'
import { stringify } from 'yaml'
import { describeConfig } from '../../src/config/describe-config.ts'
import { formatShare, readShare } from '../../src/config/quantities.ts'
import { faultsOf, load } from './load.ts'

const MiB = 1024 * 1024

describe('a share', () => {
  it.each([
    ['5%', 0.05],
    ['0%', 0],
    ['100%', 1],
    ['2.5%', 0.025],
    ['0.25%', 0.0025],
  ])('%s is read, and written as it was', (text, value) => {
    expect(readShare(text)).toEqual({ ok: true, value })
    expect(formatShare(value)).toBe(text)
  })

  it.each([
    [5, 'a share needs a percent sign: 5%'],
    [0.5, 'a share needs a percent sign: 50%'],
    ['5 %', 'did you mean 5%?'],
    ['five', undefined],
    ['101%', undefined],
    ['-5%', undefined],
    [null, undefined],
  ])('%s is refused', (given, hint) => {
    expect(readShare(given)).toEqual(hint === undefined ? { ok: false } : { ok: false, hint })
  })
})

test('the limits of the journal are read from the file and from the environment', async () => {
  const yaml = `
publish: { lowPriorityTopics: [clicks, debug.*] }
journal: { diskFreeMin: 1GiB, ageMax: 6h, warnAt: 50%, refuseLowAt: 60%, whenFull: block, blockDeadline: 2s, topicShareMax: 25%, topicShares: { orders: 50%, clicks: 2.5% }, reserveBytes: 8MiB }
`
  const { config } = await load({ yaml })
  expect(config.publish.lowPriorityTopics).toEqual(['clicks', 'debug.*'])
  expect(config.journal).toMatchObject({
    diskFreeMin: { bytes: 1024 * MiB },
    ageMax: 6 * 3_600_000,
    warnAt: 0.5,
    refuseLowAt: 0.6,
    whenFull: 'block',
    blockDeadline: 2000,
    topicShareMax: 0.25,
    topicShares: { orders: 0.5, clicks: 0.025 },
    reserveBytes: 8 * MiB,
  })
  const described = describeConfig(config)
  expect(described['journal']).toMatchObject({ diskFreeMin: '1GiB', topicShares: 'orders=50%,clicks=2.5%' })
  expect((await load({ yaml: stringify(described) })).config).toEqual(config)
  const env = { OUTRIGGER_JOURNAL_TOPIC_SHARES: 'orders=50%, clicks=2.5%', OUTRIGGER_JOURNAL_DISK_FREE_MIN: '5%' }
  expect((await load({ env })).config.journal).toMatchObject({
    topicShares: { orders: 0.5, clicks: 0.025 },
    diskFreeMin: { share: 0.05 },
  })
})

test.each([
  ['journal: { whenFull: reject }', 0.9, 32 * MiB],
  ['journal: { whenFull: block }', 1, 32 * MiB],
  ['journal: { whenFull: drop-oldest }', 1, 32 * MiB],
  ['journal: { whenFull: drop-oldest, topicShareMax: 30% }', 0.3, 32 * MiB],
  ['journal: { bytesMax: 64MiB, segmentBytes: 16MiB }', 0.9, 16 * MiB],
  ['journal: { bytesMax: 64MiB, segmentBytes: 16MiB, reserveBytes: 20MiB }', 0.9, 20 * MiB],
])('%s: share and reserve have fitting defaults', async (yaml, topicShareMax, reserveBytes) => {
  expect((await load({ yaml })).config.journal).toMatchObject({ topicShareMax, reserveBytes })
})

test.each([
  ['journal: { diskFreeMin: 60% }', 'outrigger.yaml:1: journal.diskFreeMin: expected a share from 0% to 50%, or a size; a number of bytes is 0, or 1MiB at least, given "60%"'], // prettier-ignore
  ['journal: { diskFreeMin: 5 }', 'outrigger.yaml:1: journal.diskFreeMin: expected a share from 0% to 50%, or a size; a number of bytes is 0, or 1MiB at least, given 5 (did you mean 5%?)'], // prettier-ignore
  ['journal: { diskFreeMin: "100000" }', 'outrigger.yaml:1: journal.diskFreeMin: expected a share from 0% to 50%, or a size; a number of bytes is 0, or 1MiB at least, given "100000" (a number without a unit is bytes)'], // prettier-ignore
  ['journal: { topicShares: { a: 0% } }', 'outrigger.yaml:1: journal.topicShares: expected topics with their shares, such as { orders: 20% }; in a variable "orders=20%,billing=5%", given a mapping (a share is 1% at least)'], // prettier-ignore
  ['journal: { bytesMax: 1GiB }\nledger: { backlogBytesMax: 900MiB }', 'outrigger.yaml:2: ledger.backlogBytesMax: expected at most 80% of journal.bytesMax: 858993459, given "900MiB" (or make journal.bytesMax larger)'], // prettier-ignore
  ['journal: { whenFull: drop-oldest }\nledger: { whenFull: refuse }', 'outrigger.yaml:2: ledger.whenFull: expected gap, because journal.whenFull is drop-oldest, which deletes what the ledger has not got, given "refuse" (or let journal.whenFull be reject or block)'], // prettier-ignore
  ['journal: { topicShares: { "a b": 5% } }', 'outrigger.yaml:1: journal.topicShares: expected topics with their shares, such as { orders: 20% }; in a variable "orders=20%,billing=5%", given a mapping (“a b” is not a topic name)'], // prettier-ignore
  ['journal: { topicShares: { a: 5 } }', 'outrigger.yaml:1: journal.topicShares: expected topics with their shares, such as { orders: 20% }; in a variable "orders=20%,billing=5%", given a mapping (a share needs a percent sign: 5%)'], // prettier-ignore
  ['journal: { topicShares: [a] }', 'outrigger.yaml:1: journal.topicShares: expected topics with their shares, such as { orders: 20% }; in a variable "orders=20%,billing=5%", given a list'], // prettier-ignore
  ['journal: { warnAt: 90% }', 'outrigger.yaml:1: journal.warnAt: expected less than journal.refuseLowAt, which is 85%, given "90%"'], // prettier-ignore
  ['journal: { refuseLowAt: 70% }', 'outrigger.yaml:1: journal.refuseLowAt: expected more than journal.warnAt, which is 70%, given "70%"'], // prettier-ignore
  ['publish: { lowPriorityTopics: ["a*b"] }', 'outrigger.yaml:1: publish.lowPriorityTopics[0]: expected a topic name, or its beginning and a star, such as "debug.*", given "a*b"'], // prettier-ignore
])('%s is refused', async (yaml, fault) => {
  expect(await faultsOf({ yaml })).toEqual([fault])
})

test.each(['0', '1MiB', '1048576', '900KiB', '0.5%'])('journal.diskFreeMin can be %s', async (given) => {
  expect((await load({ yaml: `journal: { diskFreeMin: ${given} }` })).config.journal.diskFreeMin).toBeDefined()
})

test('without a ledger, its whenFull does not matter', async () => {
  const yaml = 'journal: { whenFull: drop-oldest }\nledger: { metadata: none, log: none, whenFull: refuse }'
  await expect(load({ yaml })).resolves.toBeDefined()
})
