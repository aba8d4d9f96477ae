import { describe, expect, test } from 'vitest'
import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'
import { AnswerLog, isFlawless, Trial, type SentMessage, type Verdict } from './verdict.ts'

const journal = '0123456789abc'

/** Message number `n`, with the key of its parity, as a publisher sent it. */
function sent(n: number): SentMessage {
  return {
    topic: 'topic',
    key: Buffer.from(n % 2 === 0 ? 'even' : 'odd'),
    value: Buffer.from(`value ${n}`),
    headers: [['tag', Buffer.from(String(n))]],
  }
}

/** Message number `n` as it stands in the broker; its id's number is the same. */
function record(n: number, changes: Partial<ConsumedRecord> = {}): ConsumedRecord {
  const { topic, key, value, headers } = sent(n)
  return {
    topic,
    partition: n % 2,
    offset: n,
    timestamp: n * 10,
    key,
    value,
    headers: [
      ['outrigger-id', Buffer.from(`${journal}-${n}`)],
      ['outrigger-accepted-at', Buffer.from('1')],
      ...headers,
    ],
    ...changes,
  }
}

function judge(answered: readonly number[], records: readonly ConsumedRecord[]): Verdict {
  const answers = new AnswerLog()
  for (const n of answered) answers.add('publisher', String(n), `${journal}-${n}`)
  const trial = new Trial(answers, 'tag', (tag) => (/^[1-9]$/.test(tag) ? sent(Number(tag)) : null))
  for (const each of records) trial.add(each)
  return trial.verdict()
}

describe('a trial', () => {
  test('finds no fault in what is complete and in order', () => {
    const verdict = judge([1, 2, 3, 4], [record(1), record(3), record(2), record(4)])
    expect(verdict).toMatchObject({ answered: 4, delivered: 4, keptUnanswered: 0, duplicates: [] })
    expect(isFlawless(verdict)).toBe(true)
  })

  test('finds what is lost', () => {
    const verdict = judge([1, 2], [record(1)])
    expect(verdict).toMatchObject({ delivered: 1, lost: [`${journal}-2`] })
    expect(isFlawless(verdict)).toBe(false)
  })

  test.each<[string, Partial<ConsumedRecord>]>([
    ['value', { value: Buffer.from('value 2') }],
    ['tombstone', { value: null }],
    ['key', { key: Buffer.from('even') }],
    ['topic', { topic: 'other' }],
    ['headers', { headers: [...record(1).headers, ['more', Buffer.from('')]] }],
    ['own headers', { headers: record(1).headers.filter(([name]) => name !== 'outrigger-accepted-at') }],
  ])('finds a wrong %s', (_, changes) => {
    const verdict = judge([1], [record(1, changes)])
    expect(verdict).toMatchObject({ lost: [], damaged: [`${journal}-1`] })
    expect(isFlawless(verdict)).toBe(false)
  })

  test('finds an id on another message than it was answered for', () => {
    const answers = new AnswerLog()
    answers.add('publisher', '2', `${journal}-1`)
    const trial = new Trial(answers, 'tag', (tag) => sent(Number(tag)))
    trial.add(record(1))
    expect(trial.verdict().damaged).toEqual([`${journal}-1`])
  })

  test('finds what is out of order within its key, and only that', () => {
    expect(judge([1, 2, 3], [record(2), record(1), record(3)]).outOfOrder).toEqual([])
    const verdict = judge([1, 2, 3], [record(3), record(1), record(2)])
    expect(verdict.outOfOrder).toEqual([`${journal}-1`])
    expect(isFlawless(verdict)).toBe(false)
  })

  test('finds a key in two partitions', () => {
    expect(judge([1, 3], [record(1), record(3, { partition: 7 })]).outOfOrder).toEqual([`${journal}-3`])
  })

  test('takes only the first of several records for the order, and tells when they were written', () => {
    const again = record(1, { timestamp: 25 })
    const verdict = judge([1, 3], [record(1), record(3), again, record(3, { timestamp: 5 })])
    expect(verdict.outOfOrder).toEqual([])
    expect(verdict.duplicates).toEqual([
      { id: `${journal}-1`, firstAt: 10, againAt: 25 },
      { id: `${journal}-3`, firstAt: 5, againAt: 30 },
    ])
    expect(isFlawless(verdict)).toBe(true)
  })

  test('counts what was kept without an answer apart from what nobody sent', () => {
    const nobodys = record(9, { headers: record(9).headers.filter(([name]) => name !== 'tag') })
    expect(judge([1], [record(1), record(3)])).toMatchObject({ keptUnanswered: 1, unknown: 0 })
    expect(judge([1], [record(1), nobodys])).toMatchObject({ keptUnanswered: 0, unknown: 1 })
    expect(isFlawless(judge([1], [record(1), nobodys]))).toBe(false)
  })
})

describe('the log of answers', () => {
  test.each([
    ['given twice', ['1', '1']],
    ['lower than one before', ['2', '1']],
  ])('finds a number that is %s', (_, seqs) => {
    expect(judge([], []).wrongAnswers).toBe(0)
    const answers = new AnswerLog()
    for (const [i, seq] of seqs.entries()) answers.add('publisher', String(i), `${journal}-${seq}`)
    expect(answers.faults).toBe(1)
  })

  test('finds an id of another journal', () => {
    const answers = new AnswerLog()
    answers.add('a', '1', `${journal}-1`)
    answers.add('b', '2', `${journal.replace('0', 'z')}-2`)
    expect(answers.faults).toBe(1)
  })
})
