/** A signal to race against, without leaving a listener on it for every race. */
export class Aborting {
  readonly signal: AbortSignal
  readonly #promise: Promise<never>
  readonly #onAbort: () => void

  constructor(signal: AbortSignal) {
    const { promise, reject } = Promise.withResolvers<never>()
    this.signal = signal
    this.#promise = promise
    this.#onAbort = () => reject(signal.reason as Error)
    // Nobody may be racing at the moment.
    promise.catch(() => {})
    if (signal.aborted) this.#onAbort()
    else signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Rejects with the signal's reason as soon as it is aborted; what was under way goes on unheeded. */
  orDone<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#promise])
  }

  dispose(): void {
    this.signal.removeEventListener('abort', this.#onAbort)
  }
}
