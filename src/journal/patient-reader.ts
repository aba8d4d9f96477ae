import type { Clock } from '../base/clock.ts'
import { isDiskFailure } from '../base/errors.ts'
import type { RecordBlock, RecordReader } from '../base/record-reader.ts'

const retryMs = 500

/** For the log. */
export const readFailed = 'a file of the journal can not be read; trying again'

/** Reads again what the disk could not give, until it can, or nobody wants it any more. What is damaged is another matter. */
export class PatientReader implements RecordReader {
  readonly #reader: RecordReader
  readonly #clock: Clock
  readonly #signal: AbortSignal
  readonly #failing: (error: unknown) => void

  /** `failing` is told of the first of several failures in a row. When `signal` aborts, the failure is thrown. */
  constructor(reader: RecordReader, clock: Clock, signal: AbortSignal, failing: (error: unknown) => void) {
    this.#reader = reader
    this.#clock = clock
    this.#signal = signal
    this.#failing = failing
  }

  get nextSeq(): number {
    return this.#reader.nextSeq
  }

  async next(): Promise<RecordBlock | null> {
    for (let isFirst = true; ; isFirst = false) {
      try {
        return await this.#reader.next()
      } catch (error) {
        if (!isDiskFailure(error) || this.#signal.aborted) throw error
        if (isFirst) this.#failing(error)
        await this.#clock.sleep(retryMs, this.#signal).catch(() => {}) // the loop sees that it is over
        if (this.#signal.aborted) throw error
      }
    }
  }

  close(): Promise<void> {
    return this.#reader.close()
  }
}
