import { workerData } from 'node:worker_threads'
import { answerCalls } from '../src/base/remote-calls.ts'
import type { RecordingWorkerData } from '../src/recording-thread.ts'

/** A recording thread for tests, without recorders: it fails when it is asked for message 13, and can't start as journal `broken`. */
const { journal, calls, events } = workerData as RecordingWorkerData

if (journal.id === 'broken') throw new Error('it can not start')
answerCalls(calls, {
  started: async () => [{ recorder: 'log', seq: 7, mark: 3 }],
  status: async () => [],
  find: async ({ seq }: { seq: number }) => {
    if (seq !== 13) return { ok: true, found: null }
    // As a driver's timer whose error nobody catches.
    setImmediate(() => {
      throw new TypeError("Cannot read properties of null (reading 'once')")
    })
    return new Promise(() => {})
  },
  close: async () => {
    setImmediate(() => {
      calls.close()
      events.close()
    })
  },
})
