/**
 * What the whole way is compared with: a bare kafkajs producer, idempotent and with acks from all, that sends the same
 * messages in the same batches. Started as `node producer-baseline.ts FILE`, where the file holds a `ProducerLoad`; prints
 * a `ProducerResult`.
 */
import { readFile } from 'node:fs/promises'
import { Kafka, logLevel, Partitioners } from 'kafkajs'
import type { BenchMessage } from './bodies.ts'

export interface ProducerLoad {
  readonly brokers: readonly string[]
  readonly topic: string
  readonly messages: readonly BenchMessage[]
  readonly batch: number
  readonly inFlight: number
  readonly seconds: number
  readonly warmUpSeconds: number
}

export interface ProducerResult {
  readonly messages: number
  readonly seconds: number
  readonly cpuMicrosPerMessage: number
}

const load = JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')) as ProducerLoad
process.env['KAFKAJS_NO_PARTITIONER_WARNING'] = '1'
const kafka = new Kafka({ clientId: 'bench', brokers: [...load.brokers], logLevel: logLevel.NOTHING })
const producer = kafka.producer({
  idempotent: true,
  maxInFlightRequests: load.inFlight,
  createPartitioner: Partitioners.DefaultPartitioner,
})
const batches: BenchMessage[][] = []
for (let from = 0; from + load.batch <= load.messages.length; from += load.batch) {
  batches.push(load.messages.slice(from, from + load.batch))
}
let turn = 0

async function send(seconds: number): Promise<number> {
  const until = performance.now() + seconds * 1000
  let count = 0
  const sendOn = async (): Promise<void> => {
    while (performance.now() < until) {
      const messages = batches[turn++ % batches.length] as BenchMessage[]
      await producer.send({ topic: load.topic, messages, acks: -1 })
      count += messages.length
    }
  }
  await Promise.all(Array.from({ length: load.inFlight }, sendOn))
  return count
}

await producer.connect()
await send(load.warmUpSeconds)
const cpuBefore = process.cpuUsage()
const begunAt = performance.now()
const messages = await send(load.seconds)
const seconds = (performance.now() - begunAt) / 1000
const { user, system } = process.cpuUsage(cpuBefore)
const cpuMicrosPerMessage = Math.round(((user + system) / messages) * 100) / 100
console.log(JSON.stringify({ messages, seconds, cpuMicrosPerMessage } satisfies ProducerResult))
await producer.disconnect()
