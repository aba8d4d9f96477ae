import { workerData } from 'node:worker_threads'
import { answerCalls } from '../src/base/remote-calls.ts'
import type { ThreadPorts } from '../src/worker-thread.ts'
import { HintedError } from './thread-error.ts'

/** A thread for the tests of `WorkerThread`: it does what its data says. */
const { fails, calls, events } = workerData as ThreadPorts & { fails: 'at once' | 'later' | 'never' }

const failure = new HintedError('the cursor is corrupt', { hint: 'Move it away.', cause: new Error('bad CRC') })
if (fails === 'at once') throw failure
answerCalls(calls, {
  block: async (ms: number) => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
    return null
  },
  fail: async () => {
    setImmediate(() => {
      throw failure
    })
    return new Promise(() => {})
  },
  close: async () => {
    setImmediate(() => {
      calls.close()
      events.close()
      setTimeout(() => {}, 60_000) // a handle that somebody has forgotten
    })
    if (fails === 'later') throw failure
  },
})
