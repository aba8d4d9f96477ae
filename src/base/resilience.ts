import {
  CircuitState,
  ConsecutiveBreaker,
  ExponentialBackoff,
  TaskCancelledError,
  TimeoutStrategy,
  circuitBreaker,
  handleWhen,
  isBrokenCircuitError,
  timeout,
} from 'cockatiel'
import type { CircuitBreakerPolicy, IBackoff } from 'cockatiel'
import type { Clock } from './clock.ts'
import { OutriggerError } from './errors.ts'
import { Wakeup } from './wakeup.ts'

/** What ran longer than it may. */
export class TimeoutError extends OutriggerError {
  override readonly name = 'TimeoutError'
  override readonly code = 'timeout'
}

/** A breaker is open: the call was not tried. */
export class CircuitOpenError extends OutriggerError {
  override readonly name = 'CircuitOpenError'
  override readonly code = 'circuit_open'
}

/** Growing delays with decorrelated jitter, so that many clients that failed together don't come back together. */
export class Backoff {
  readonly #factory: ExponentialBackoff<[number, number]>
  #next: IBackoff<unknown> | null = null

  constructor(options: { initialMs: number; maxMs: number }) {
    this.#factory = new ExponentialBackoff({ initialDelay: options.initialMs, maxDelay: options.maxMs })
  }

  /** The delay before the next try, in milliseconds. */
  nextDelayMs(): number {
    this.#next = this.#next === null ? this.#factory.next() : this.#next.next(undefined)
    return this.#next.duration
  }

  /** After a success: the next delay is a short one again. */
  reset(): void {
    this.#next = null
  }
}

export type BreakerState = 'closed' | 'half-open' | 'open'

/**
 * Opens after a number of failures in a row; then calls are refused at once until a delay is over, when a single call
 * is let through and decides. Delays grow while that call keeps failing.
 */
export class Breaker {
  readonly #policy: CircuitBreakerPolicy
  readonly #delayMs: number
  readonly #delayMaxMs: number
  readonly #closed: Wakeup

  constructor(
    clock: Clock,
    options: {
      failures: number
      delayMs: number
      delayMaxMs: number
      /** Which errors count. All others are answers too: they pass through, and close a breaker that was not sure. */
      counts: (error: unknown) => boolean
      onStateChange: (state: BreakerState) => void
    },
  ) {
    this.#delayMs = options.delayMs
    this.#delayMaxMs = options.delayMaxMs
    this.#closed = new Wakeup(clock)
    this.#policy = circuitBreaker(handleWhen(options.counts), {
      breaker: new ConsecutiveBreaker(options.failures),
      halfOpenAfter: new ExponentialBackoff({ initialDelay: options.delayMs, maxDelay: options.delayMaxMs }),
    })
    this.#policy.onStateChange((state) => {
      options.onStateChange(stateName(state))
      if (state === CircuitState.Closed) this.#closed.wake()
    })
  }

  get state(): BreakerState {
    return stateName(this.#policy.state)
  }

  /** Runs `call`, or throws a `CircuitOpenError`. */
  async execute<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await this.#policy.execute(call)
    } catch (error) {
      if (isBrokenCircuitError(error)) throw new CircuitOpenError('the circuit is open', { cause: error })
      throw error
    }
  }

  /** Resolves as soon as the breaker closes, after `ms`, or when the signal aborts. */
  untilClosed(signal: AbortSignal, ms: number): Promise<void> {
    return this.#closed.wait(signal, ms)
  }

  /**
   * After a `CircuitOpenError`: resolves when it is time to try again. However many wait, about one try is made in every
   * `delayMs`; when it closes the breaker, all others wake.
   */
  untilNextTry(signal: AbortSignal): Promise<void> {
    return this.untilClosed(signal, Math.min(this.#delayMs * (this.#closed.waiting + 1), this.#delayMaxMs))
  }
}

function stateName(state: CircuitState): BreakerState {
  switch (state) {
    case CircuitState.Closed:
      return 'closed'
    case CircuitState.HalfOpen:
      return 'half-open'
    case CircuitState.Open:
    case CircuitState.Isolated:
      return 'open'
  }
}

/**
 * Runs `call` with a signal that aborts after `ms`, or with the outer one. Rejects at once then, whether or not the call
 * heeds its signal: with a `TimeoutError` or the outer signal's reason.
 */
export async function withTimeout<T>(
  ms: number,
  outer: AbortSignal,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  try {
    // To abort the call's signal after it has returned would tell nobody anything, and costs an exception.
    const policy = timeout(ms, { strategy: TimeoutStrategy.Aggressive, abortOnReturn: false })
    return await policy.execute(({ signal }) => call(signal), outer)
  } catch (error) {
    outer.throwIfAborted()
    if (error instanceof TaskCancelledError) throw new TimeoutError(`no answer within ${ms} ms`, { cause: error })
    throw error
  }
}
