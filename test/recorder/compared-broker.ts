import type { BrokerRecord } from '../../src/recorder/delivered-record.ts'
import type { ComparedBroker } from '../../src/recorder/reconcile.ts'

export const comparedJournalId = '0123456789abc'

export interface SentMessage {
  readonly seq: number
  readonly topic?: string
  readonly partition?: number
  readonly value?: Buffer | null
  readonly key?: Buffer | null
  readonly acceptedAt?: number
  readonly contentType?: string
  readonly traceparent?: string
  readonly headers?: readonly (readonly [string, Buffer])[]
}

/** A broker in memory that holds what it was given, and forgets the oldest when it is told to. */
export class FakeComparedBroker implements ComparedBroker {
  readonly records: BrokerRecord[] = []
  /** By partition, where it begins. */
  readonly begins = new Map<number, number>()
  readonly #ends = new Map<string, number>()

  /** As the forwarder sends it. */
  send(message: SentMessage): BrokerRecord {
    const { seq, acceptedAt = 1000 + seq, contentType, traceparent, headers = [] } = message
    const own: [string, string][] = [
      ['outrigger-id', `${comparedJournalId}-${seq}`],
      ['outrigger-accepted-at', String(acceptedAt)],
    ]
    if (contentType !== undefined) own.push(['content-type', contentType])
    if (traceparent !== undefined) own.push(['traceparent', traceparent])
    return this.append(message, acceptedAt, [
      ...own.map(([name, value]) => [name, Buffer.from(value)] as const),
      ...headers,
    ])
  }

  /** As somebody else does. */
  append(
    { topic = 'orders', partition = 0, key = null, value = Buffer.from('value') }: Partial<SentMessage>,
    timestamp: number,
    headers: BrokerRecord['headers'],
  ): BrokerRecord {
    const offset = this.#ends.get(`${topic}/${partition}`) ?? 0
    this.#ends.set(`${topic}/${partition}`, offset + 1)
    const record = { topic, partition, offset, timestamp, key, value, headers }
    this.records.push(record)
    return record
  }

  async topics(): Promise<readonly string[]> {
    return [...new Set(this.records.map(({ topic }) => topic))]
  }

  async offsetsAt(
    topic: string,
    time: number | 'beginning' | 'end',
  ): Promise<readonly { partition: number; offset: number }[]> {
    const partitions = [...this.#ends.keys()].filter((place) => place.startsWith(`${topic}/`))
    return partitions.map((place) => {
      const partition = Number(place.split('/')[1])
      const end = this.#ends.get(place) ?? 0
      const begin = this.begins.get(partition) ?? 0
      if (time === 'end') return { partition, offset: end }
      if (time === 'beginning') return { partition, offset: begin }
      const first = this.#held(topic, partition).find(({ timestamp }) => timestamp >= time)
      return { partition, offset: first?.offset ?? end }
    })
  }

  async *readRange(topic: string, partition: number, from: number, to: number): AsyncGenerator<BrokerRecord> {
    for (const record of this.#held(topic, partition)) if (record.offset >= from && record.offset < to) yield record
  }

  #held(topic: string, partition: number): BrokerRecord[] {
    const begin = this.begins.get(partition) ?? 0
    return this.records.filter(
      (record) => record.topic === topic && record.partition === partition && record.offset >= begin,
    )
  }
}
