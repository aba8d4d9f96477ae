import { BrokerError } from '../forwarder/broker.ts'

/** What a request said of each subject; throws where it said that one subject failed. */
export type AnswerOf<Answer> = (name: string) => Answer

export interface SharedRequestsOptions<Subject> {
  /** How much one subject takes of what a request may hold. */
  readonly weightOf: (subject: Subject) => number
  /** What a request may hold; a subject that alone is more goes alone. */
  readonly weightMax: number
}

interface Waiting<Subject, Answer> {
  readonly subject: Subject
  readonly promise: Promise<Answer>
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
}

/**
 * Asks about many subjects with few requests. One is under way at a time; whatever is asked meanwhile, or in the same
 * turn, shares the next. So however many ask at once, the broker has one request of this kind to work on, not thousands.
 *
 * What waits has one place for each name, so there are never more than there are names. A place stays when nobody waits
 * for it any more: whoever comes again finds it further ahead.
 */
export class SharedRequests<Subject, Answer> {
  readonly #send: (subjects: readonly Subject[]) => Promise<AnswerOf<Answer>>
  readonly #weightOf: (subject: Subject) => number
  readonly #weightMax: number
  #waiting = new Map<string, Waiting<Subject, Answer>>()
  #isSending = false

  constructor(
    send: (subjects: readonly Subject[]) => Promise<AnswerOf<Answer>>,
    { weightOf, weightMax }: SharedRequestsOptions<Subject>,
  ) {
    this.#send = send
    this.#weightOf = weightOf
    this.#weightMax = weightMax
  }

  /** The answer of a request that is sent from now on: one that is under way may know less than who asks. */
  ask(name: string, subject: Subject): Promise<Answer> {
    const known = this.#waiting.get(name)
    if (known) return known.promise
    const waiting = { subject, ...Promise.withResolvers<Answer>() }
    // Whoever asked may have given up meanwhile.
    waiting.promise.catch(() => {})
    this.#waiting.set(name, waiting)
    if (!this.#isSending) {
      this.#isSending = true
      void this.#sendAll()
    }
    return waiting.promise
  }

  /** Never rejects: everyone learns of their own outcome. */
  async #sendAll(): Promise<void> {
    // What is asked in this turn belongs together.
    await new Promise((resolve) => setImmediate(resolve))
    while (this.#waiting.size > 0) {
      const taken = this.#take()
      try {
        const answerOf = await this.#send([...taken.values()].map(({ subject }) => subject))
        for (const [name, waiting] of taken) settle(name, waiting, answerOf)
      } catch (error) {
        for (const { reject } of taken.values()) reject(error)
        if (isOfCluster(error)) this.#rejectWaiting(error)
      }
    }
    this.#isSending = false
  }

  #take(): Map<string, Waiting<Subject, Answer>> {
    const taken = new Map<string, Waiting<Subject, Answer>>()
    let weight = 0
    for (const [name, waiting] of this.#waiting) {
      weight += this.#weightOf(waiting.subject)
      if (taken.size > 0 && weight > this.#weightMax) break
      taken.set(name, waiting)
      this.#waiting.delete(name)
    }
    return taken
  }

  /** It is no use for them to find out, one request after another, that the cluster is away. */
  #rejectWaiting(error: unknown): void {
    const waiting = this.#waiting
    this.#waiting = new Map()
    for (const { reject } of waiting.values()) reject(error)
  }
}

function settle<Answer>(name: string, { resolve, reject }: Waiting<unknown, Answer>, answerOf: AnswerOf<Answer>): void {
  try {
    resolve(answerOf(name))
  } catch (error) {
    reject(error)
  }
}

function isOfCluster(error: unknown): boolean {
  return !(error instanceof BrokerError) || error.failure === 'transient' || error.failure === 'fatal'
}
