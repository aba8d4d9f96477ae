import { randomUUID } from 'node:crypto'
import { Kafka, logLevel, type Admin } from 'kafkajs'
import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'

/** A plain kafkajs client, which shares nothing with Outrigger's own. */
export function kafkaClient(brokers: readonly string[]): Kafka {
  return new Kafka({
    brokers: [...brokers],
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 100, maxRetryTime: 1000, retries: 30 },
  })
}

/** Gives `visit` all records that stand in the topics now, each partition in order. Topics that don't exist are empty. */
export async function readKafka(
  brokers: readonly string[],
  topics: readonly string[],
  visit: (record: ConsumedRecord) => void,
): Promise<void> {
  const kafka = kafkaClient(brokers)
  const admin = kafka.admin()
  await admin.connect()
  try {
    const left = await recordsLeft(admin, topics)
    if (left.size === 0) return
    const groupId = `reader-${randomUUID()}`
    const consumer = kafka.consumer({ groupId })
    const done = Promise.withResolvers<void>()
    done.promise.catch(() => {}) // thrown below, also when it comes before that
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      // A broker that has just come back is not ready for groups at once; then it tries again by itself.
      if (!payload.restart) done.reject(payload.error)
    })
    await consumer.connect()
    try {
      await consumer.subscribe({ topics: [...new Set([...left.keys()].map(topicOf))], fromBeginning: true })
      await consumer.run({
        autoCommit: false,
        eachBatch: async ({ batch }) => {
          const place = placeOf(batch.topic, batch.partition)
          const end = left.get(place)
          for (const { offset, timestamp, key, value, headers } of batch.messages) {
            if (end === undefined || Number(offset) >= end) break
            visit({
              topic: batch.topic,
              partition: batch.partition,
              offset: Number(offset),
              timestamp: Number(timestamp),
              key,
              value,
              headers: Object.entries(headers ?? {}).flatMap(([name, values]) => headersOf(name, values)),
            })
          }
          if (end !== undefined && Number(batch.lastOffset()) >= end - 1) left.delete(place)
          if (left.size === 0) done.resolve()
        },
      })
      await done.promise
    } finally {
      await consumer.disconnect()
    }
    await admin.deleteGroups([groupId])
  } finally {
    await admin.disconnect()
  }
}

/** Where each partition that has records ends. */
async function recordsLeft(admin: Admin, topics: readonly string[]): Promise<Map<string, number>> {
  const existing = new Set(await admin.listTopics())
  const left = new Map<string, number>()
  for (const topic of topics.filter((each) => existing.has(each))) {
    for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) {
      if (high !== low) left.set(placeOf(topic, partition), Number(high))
    }
  }
  return left
}

function placeOf(topic: string, partition: number): string {
  return `${topic}/${partition}`
}

function topicOf(place: string): string {
  return place.slice(0, place.lastIndexOf('/'))
}

type HeaderValues = Buffer | string | (Buffer | string)[] | undefined

function headersOf(name: string, values: HeaderValues): (readonly [string, Buffer])[] {
  const all = values === undefined ? [] : Array.isArray(values) ? values : [values]
  return all.map((value) => [name, Buffer.from(value)] as const)
}
