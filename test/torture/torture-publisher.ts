import { setTimeout as sleep } from 'node:timers/promises'
import { Publisher, type Answer } from '../e2e/publisher.ts'
import type { PublishTarget } from '../e2e/program.ts'
import { Random } from './random.ts'
import { formats, lineOf, messageOf, ownHeaders, tagOf, topics, type Format, type TortureMessage } from './traffic.ts'
import type { AnswerLog } from './verdict.ts'

export interface TorturePublisherOptions {
  readonly seed: number
  readonly number: number
  readonly target: PublishTarget
  /** It rests for up to this long between requests. */
  readonly pauseMsMax: number
}

/**
 * One of many: sends single messages and batches, one request after another, and whatever is not answered again, until
 * it is answered.
 */
export class TorturePublisher {
  /** Requests without an answer, or with one that was cut off or said to try again. */
  failures = 0
  slowestMs = 0
  readonly #answers: AnswerLog
  readonly #options: TorturePublisherOptions
  readonly #publisher: Publisher
  #count = 0

  constructor(answers: AnswerLog, options: TorturePublisherOptions) {
    this.#answers = answers
    this.#options = options
    this.#publisher = new Publisher(options.target, { connections: 1 })
  }

  /** Until the signal aborts; then it still gets an answer for what it has sent. */
  async run(signal: AbortSignal): Promise<void> {
    const { seed, number, pauseMsMax } = this.#options
    const random = Random.of(seed, number)
    while (!signal.aborted) {
      const format = random.pick([formats.single, formats.single, formats.single, formats.counted, formats.streamed])
      // All lines of a request have one topic, so the messages of others are left out.
      const messages = this.#next(format, format === formats.single ? 1 : random.between(2, 100))
      const topic = format === formats.single ? messages[0]?.topic : random.pick(topics)
      let left = messages.filter((message) => message.topic === topic)
      while (left.length > 0) {
        left = await this.#send(format, left)
        if (left.length > 0) {
          this.failures++
          await sleep(random.between(10, 60))
        }
      }
      await sleep(random.between(0, pauseMsMax))
    }
    this.#publisher.close()
  }

  #next(format: Format, count: number): TortureMessage[] {
    const { seed, number } = this.#options
    return Array.from({ length: count }, () => {
      const message = messageOf(seed, tagOf(number, this.#count++, format))
      if (message === null) throw new Error('a tag of our own is not known')
      return message
    })
  }

  /** Resolves with those that were not accepted. */
  async #send(format: Format, messages: readonly TortureMessage[]): Promise<TortureMessage[]> {
    const answer = await this.#request(format, messages).catch(() => null)
    if (answer === null) return [...messages]
    this.slowestMs = Math.max(this.slowestMs, answer.ms)
    const ids = format === formats.single ? idOfSingle(answer) : idsOfLines(answer)
    return messages.filter((message, i) => {
      const id = ids[i]
      if (id === undefined) return true
      this.#answers.add(String(this.#options.number), message.tag, id)
      return false
    })
  }

  #request(format: Format, messages: readonly TortureMessage[]): Promise<Answer> {
    const [{ topic, key, value, headers }] = messages as [TortureMessage]
    if (format !== formats.single) {
      const body = Buffer.from(messages.map(lineOf).join(''))
      const ndjson = { 'Content-Type': 'application/x-ndjson' }
      return this.#publisher.publish({ topic, headers: ndjson, body, chunked: format === formats.streamed })
    }
    const own = ownHeaders(headers).map(([name, text]) => [`Outrigger-Header-${name}`, latin1(text)])
    return this.#publisher.publish({
      topic,
      headers: {
        'Content-Type': 'application/octet-stream',
        ...(key === null ? {} : { 'Outrigger-Key': latin1(key) }),
        ...Object.fromEntries(own),
      },
      body: value ?? Buffer.alloc(0),
    })
  }
}

/** Bytes as the characters by which Node writes them into the head of a request. */
function latin1(text: Buffer | string): string {
  return Buffer.from(text).toString('latin1')
}

function idOfSingle(answer: Answer): string[] {
  if (answer.status === 202 && answer.isComplete) return [(JSON.parse(answer.body) as { id: string }).id]
  if (answer.isComplete) mayTryAgain(answer.body)
  return []
}

/** The ids of the lines that were accepted, in order. Those that came before an answer was cut off count. */
function idsOfLines({ status, body, isComplete }: Answer): string[] {
  if (![200, 202, 207].includes(status)) {
    if (isComplete) mayTryAgain(body)
    return []
  }
  const ids: string[] = []
  for (const line of body.split('\n').slice(0, -1)) {
    const result = JSON.parse(line) as { id?: string; error?: object }
    if (result.id === undefined) {
      mayTryAgain(JSON.stringify(result.error))
      break
    }
    ids.push(result.id)
  }
  return ids
}

/** Every message here is right, so a refusal must be one for now. */
function mayTryAgain(problem: string): void {
  const { retry } = JSON.parse(problem) as { retry?: boolean }
  if (retry !== true) throw new Error(`a good message was refused: ${problem}`)
}
