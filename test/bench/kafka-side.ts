import { writeFile } from 'node:fs/promises'
import { Kafka, logLevel, type Admin } from 'kafkajs'
import { startKafka, type KafkaCluster } from '../stack/kafka/kafka.ts'
import type { ProducerLoad, ProducerResult } from './producer-baseline.ts'
import { until, type Workbench } from './workbench.ts'

/** Of every topic, as in the embedded broker. */
const PARTITIONS = 3

/** Real Kafka on this machine: topics to publish to, how far they are, and the bare producer to compare with. */
export class KafkaSide implements AsyncDisposable {
  readonly cluster: KafkaCluster
  readonly #bench: Workbench
  readonly #admin: Admin
  #topics = 0

  private constructor(bench: Workbench, cluster: KafkaCluster, admin: Admin) {
    this.#bench = bench
    this.cluster = cluster
    this.#admin = admin
  }

  static async start(bench: Workbench): Promise<KafkaSide> {
    const cluster = await startKafka({ directory: bench.path('kafka'), autoCreateTopics: false })
    const kafka = new Kafka({ clientId: 'bench', brokers: [...cluster.brokers], logLevel: logLevel.NOTHING })
    const admin = kafka.admin()
    await admin.connect()
    return new KafkaSide(bench, cluster, admin)
  }

  get brokers(): readonly string[] {
    return this.cluster.brokers
  }

  /** Makes a topic that nobody has written to. */
  async newTopic(): Promise<string> {
    const topic = `bench-${++this.#topics}`
    await this.#admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: 1 }] })
    // For a moment its partitions have no leader, and the client does not always wait for that.
    await until(`topic ${topic}`, 30_000, () => this.messageCount(topic).then(() => true, isNotYet))
    return topic
  }

  /** Its disk space is given back after a minute. */
  async deleteTopic(topic: string): Promise<void> {
    await this.#admin.deleteTopics({ topics: [topic] })
  }

  /** How many messages were ever written to it. */
  async messageCount(topic: string): Promise<number> {
    const partitions = await this.#admin.fetchTopicOffsets(topic)
    return partitions.reduce((sum, { high }) => sum + Number(high), 0)
  }

  /** What a bare kafkajs producer, in a process of its own, gets into a new topic. */
  async produce(load: Omit<ProducerLoad, 'brokers' | 'topic' | 'warmUpSeconds'>): Promise<ProducerResult> {
    const topic = await this.newTopic()
    const file = this.#bench.path('produce.json')
    const whole: ProducerLoad = { ...load, topic, brokers: this.brokers, warmUpSeconds: 1 }
    await writeFile(file, JSON.stringify(whole))
    const program = new URL('producer-baseline.ts', import.meta.url).pathname
    const args = ['--disable-warning=TimeoutNegativeWarning', program, file]
    const timeoutMs = (load.seconds + whole.warmUpSeconds) * 1000 + 30_000
    const printed = await this.#bench.run('producer', process.execPath, args, timeoutMs)
    await this.deleteTopic(topic)
    return JSON.parse(printed) as ProducerResult
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#admin.disconnect()
    await this.cluster.stop()
  }
}

function isNotYet(error: unknown): false {
  if (error instanceof Error && 'retriable' in error && error.retriable === true) return false
  throw error
}
