import type { Logger } from 'kafkajs/src/network/connectionPool.js'
import type { RequestDefinition } from 'kafkajs/src/protocol/requests/index.js'
import type { Log } from '../base/log.ts'
import { BrokerError } from '../forwarder/broker.ts'
import { apiKeys } from './api-keys.ts'
import { kafkaBrokerError } from './kafka-errors.ts'
import { closedError, isAnswer, KafkaLink, kafkajsLogger } from './kafka-link.ts'
import type { NodeAddress } from './kafka-link.ts'
import type { KafkaConnectionOptions } from './kafka-options.ts'

/** Sends one request over a connection that stands. */
export type Ask = <Arguments, Answer>(
  apiKey: number,
  definition: RequestDefinition<Arguments, Answer>,
  args: Arguments,
) => Promise<Answer>

/**
 * One broker of the cluster, by its address. Connects when first asked.
 *
 * A broker works on one request of a connection at a time, and a connection on which a request failed is given up with
 * all that waits on it. So what may take long does not share a connection with what must not wait for it: batches have
 * one of their own, the creation of topics too (it waits for the cluster's controller), and a third is for all else.
 */
export class KafkaNode {
  readonly address: string
  readonly #producing: Line
  readonly #creating: Line
  readonly #asking: Line

  constructor(target: NodeAddress, options: KafkaConnectionOptions, log: Log) {
    this.address = formatAddress(target)
    const logger = kafkajsLogger(log)
    const newLine = (): Line => new Line(this.address, target, options, logger)
    this.#producing = newLine()
    this.#creating = newLine()
    this.#asking = newLine()
  }

  /** Whether it can be asked without connecting first. */
  get isConnected(): boolean {
    return this.#asking.isConnected
  }

  /** When a connection last failed, by `performance.now()`; undefined when the last ones did not. */
  get failedAt(): number | undefined {
    const failures = [this.#producing.failedAt, this.#asking.failedAt].filter((at) => at !== undefined)
    return failures.length === 0 ? undefined : Math.max(...failures)
  }

  /** When it last answered to a batch, by `performance.now()`; undefined when it never did. */
  get producedAt(): number | undefined {
    return this.#producing.answeredAt
  }

  /** Waits for the connection for batches. What it resolves to sends over this very connection; both reject with `BrokerError`s. */
  async connected(): Promise<Ask> {
    return this.#producing.connected()
  }

  async ask<Arguments, Answer>(
    apiKey: number,
    definition: RequestDefinition<Arguments, Answer>,
    args: Arguments,
  ): Promise<Answer> {
    const ask = await this.#lineFor(apiKey).connected()
    return ask(apiKey, definition, args)
  }

  /** Ends the connections at once; whatever waits on them fails. */
  disconnect(): void {
    for (const line of [this.#producing, this.#creating, this.#asking]) line.disconnect()
  }

  #lineFor(apiKey: number): Line {
    switch (apiKey) {
      case apiKeys.produce:
        return this.#producing
      case apiKeys.createTopics:
        return this.#creating
      default:
        return this.#asking
    }
  }
}

/**
 * A connection to one broker, and its successors. One on which anything went wrong is thrown away with all that waits on
 * it, and the next request makes a new one: kafkajs's own ways of mending a connection wait for answers that never come.
 */
class Line {
  /** When a connection last failed, by `performance.now()`; undefined when the last one did not. */
  failedAt: number | undefined
  /** When a request was last answered, and not with an error for all of it, by `performance.now()`. */
  answeredAt: number | undefined
  readonly #address: string
  readonly #target: NodeAddress
  readonly #options: KafkaConnectionOptions
  readonly #logger: Logger
  #opening: Promise<KafkaLink> | undefined
  #link: KafkaLink | undefined

  constructor(address: string, target: NodeAddress, options: KafkaConnectionOptions, logger: Logger) {
    this.#address = address
    this.#target = target
    this.#options = options
    this.#logger = logger
  }

  get isConnected(): boolean {
    return this.#link?.isUsable ?? false
  }

  async connected(): Promise<Ask> {
    const link = await this.#linked()
    return (apiKey, definition, args) => this.#ask(link, apiKey, definition, args)
  }

  /** Ends the connection at once; whatever waits on it fails. */
  disconnect(): void {
    const link = this.#link
    this.#link = undefined
    link?.destroy(closedError())
    void this.#opening?.then(
      (late) => late.destroy(closedError()),
      () => {},
    )
    this.#opening = undefined
  }

  async #linked(): Promise<KafkaLink> {
    if (this.#link?.isUsable) return this.#link
    this.#link?.destroy(closedError())
    this.#link = undefined
    const opening = (this.#opening ??= KafkaLink.open(this.#target, this.#options, this.#logger))
    try {
      const link = await opening
      if (this.#opening === opening) {
        this.#link = link
        this.failedAt = undefined
      }
      return link
    } catch (error) {
      this.failedAt = performance.now()
      throw kafkaBrokerError(error, this.#address)
    } finally {
      if (this.#opening === opening) this.#opening = undefined
    }
  }

  async #ask<Arguments, Answer>(
    link: KafkaLink,
    apiKey: number,
    definition: RequestDefinition<Arguments, Answer>,
    args: Arguments,
  ): Promise<Answer> {
    try {
      const answer = await link.ask(apiKey, definition, args)
      this.answeredAt = performance.now()
      return answer
    } catch (error) {
      const translated = kafkaBrokerError(error, this.#address)
      // A request that timed out, too: what comes behind it on this connection waits for the same hanging broker.
      if (translated instanceof BrokerError && translated.failure === 'transient' && !isAnswer(error)) {
        if (this.#link === link) this.#link = undefined
        this.failedAt = performance.now()
        link.destroy(closedError())
      }
      throw translated
    }
  }
}

/** `HOST:PORT` or `[IPV6]:PORT`. */
export function parseAddress(text: string): NodeAddress {
  const colon = text.lastIndexOf(':')
  const host = text.slice(0, colon)
  return { host: host.startsWith('[') ? host.slice(1, -1) : host, port: Number(text.slice(colon + 1)) }
}

export function formatAddress({ host, port }: NodeAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
