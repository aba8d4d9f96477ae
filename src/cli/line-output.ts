import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { codeOf } from '../base/errors.ts'

/**
 * Writes the lines that `make` gives to `output`, until there are no more, the signal aborts, or nobody reads any more
 * (`| head`: then it ends quietly). Waits for a slow reader. `make` gets a signal that aborts in each of these cases.
 * Throws what `make` throws, unless that is because of the signal.
 *
 * `output` is not ended.
 */
export async function writeLines(
  output: Writable,
  signal: AbortSignal,
  make: (ends: AbortSignal) => AsyncIterable<string>,
): Promise<void> {
  const stop = new AbortController()
  const ends = AbortSignal.any([signal, stop.signal])
  let failure: Error | undefined
  // Also while nothing is being written: whoever read may go at any time.
  const onError = (error: Error): void => {
    failure = error
    stop.abort()
  }
  const onClose = (): void => stop.abort()
  output.on('error', onError)
  output.on('close', onClose)
  try {
    for await (const line of make(ends)) {
      if (!output.write(line)) await drained(output, ends)
      if (ends.aborted) break
    }
    await flushed(output, ends)
  } catch (error) {
    if (!ends.aborted || error !== ends.reason) throw error
  } finally {
    output.off('error', onError)
    output.off('close', onClose)
  }
  if (failure !== undefined && codeOf(failure) !== 'EPIPE') throw failure
}

async function drained(output: Writable, signal: AbortSignal): Promise<void> {
  await once(output, 'drain', { signal }).catch((error: unknown) => {
    // Its own error, if there is one, is known to the one who listens for it.
    if (!signal.aborted && error !== output.errored) throw error
  })
}

/** Until all is handed over, so that a failure of the last line is noticed, too; not beyond the signal's abort. */
async function flushed(output: Writable, signal: AbortSignal): Promise<void> {
  if (signal.aborted || output.writableLength === 0) return
  const { promise, resolve } = Promise.withResolvers<void>()
  signal.addEventListener('abort', () => resolve(), { once: true })
  output.write('', () => resolve())
  await promise
}
