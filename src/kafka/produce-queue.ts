import { BrokerError } from '../forwarder/broker.ts'
import { apiKeys } from './api-keys.ts'
import type { Ask, KafkaNode } from './kafka-node.ts'
import type { PartitionAnswer } from './produce-request.ts'
import { produceRequest } from './produce-request.ts'

/** One partition's batch on its way to the partition's leader. */
export interface Parcel {
  readonly topic: string
  readonly partition: number
  readonly bytes: Buffer
}

/** How a parcel fared: the broker's answer; or none, and whether it may have got there. */
export type ParcelOutcome =
  | { readonly kind: 'answered'; readonly errorCode: number; readonly baseOffset: number }
  | { readonly kind: 'unanswered'; readonly error: unknown; readonly wasSent: boolean }

export interface ProduceQueueOptions {
  readonly acks: 'all' | 'leader'
  readonly timeoutMs: number
}

interface Waiting extends Parcel {
  readonly settle: (outcome: ParcelOutcome) => void
}

/**
 * A broker works on one request of a connection at a time. A second one under way keeps it busy; what comes meanwhile
 * shares the next request, so that many topics with little traffic each do not queue up one behind the other.
 */
const requestsInFlightMax = 2
const requestBytesMax = 8 * 1024 * 1024

/** What is to be produced on one broker. */
export class ProduceQueue {
  readonly #node: Pick<KafkaNode, 'connected'>
  readonly #options: ProduceQueueOptions
  #waiting: Waiting[] = []
  #inFlight = 0

  constructor(node: Pick<KafkaNode, 'connected'>, options: ProduceQueueOptions) {
    this.#node = node
    this.#options = options
  }

  /** `withdraw` is true when the parcel has not been sent; then it never will be, and `outcome` stays open. */
  add(parcel: Parcel): { readonly outcome: Promise<ParcelOutcome>; withdraw(): boolean } {
    const { promise, resolve } = Promise.withResolvers<ParcelOutcome>()
    const waiting = { ...parcel, settle: resolve }
    this.#waiting.push(waiting)
    this.#pump()
    return {
      outcome: promise,
      withdraw: () => {
        const index = this.#waiting.indexOf(waiting)
        if (index !== -1) this.#waiting.splice(index, 1)
        return index !== -1
      },
    }
  }

  #pump(): void {
    while (this.#waiting.length > 0 && this.#inFlight < requestsInFlightMax) {
      this.#inFlight++
      void this.#sendNext().finally(() => {
        this.#inFlight--
        this.#pump()
      })
    }
  }

  /** Never rejects: every parcel learns of its own outcome. */
  async #sendNext(): Promise<void> {
    let ask: Ask
    try {
      ask = await this.#node.connected()
    } catch (error) {
      for (const { settle } of this.#take()) settle({ kind: 'unanswered', error, wasSent: false })
      return
    }
    const parcels = this.#take()
    if (parcels.length === 0) return
    try {
      const { acks, timeoutMs } = this.#options
      const answers = await ask(apiKeys.produce, produceRequest, { acks, timeoutMs, batches: parcels })
      for (const parcel of parcels) parcel.settle(outcomeOf(parcel, answers))
    } catch (error) {
      for (const { settle } of parcels) settle({ kind: 'unanswered', error, wasSent: true })
    }
  }

  /** What fits into one request, each partition at most once. */
  #take(): Waiting[] {
    const taken: Waiting[] = []
    const left: Waiting[] = []
    const partitions = new Set<string>()
    let bytes = 0
    for (const parcel of this.#waiting) {
      const name = `${parcel.topic}/${parcel.partition}`
      const fits = taken.length === 0 || bytes + parcel.bytes.length <= requestBytesMax
      if (fits && !partitions.has(name)) {
        taken.push(parcel)
        partitions.add(name)
        bytes += parcel.bytes.length
      } else {
        left.push(parcel)
      }
    }
    this.#waiting = left
    return taken
  }
}

function outcomeOf({ topic, partition }: Parcel, answers: readonly PartitionAnswer[]): ParcelOutcome {
  const answer = answers.find((candidate) => candidate.partition === partition && candidate.topic === topic)
  if (answer) return { kind: 'answered', errorCode: answer.errorCode, baseOffset: answer.baseOffset }
  const error = new BrokerError('transient', 'MALFORMED_ANSWER', `the broker said nothing of ${topic}/${partition}`)
  return { kind: 'unanswered', error, wasSent: true }
}
