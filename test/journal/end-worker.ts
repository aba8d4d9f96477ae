import { parentPort, workerData } from 'node:worker_threads'
import { JournalEnd } from '../../src/journal/journal-end.ts'

type Request = { readonly seq: number } | { readonly pingPong: SharedArrayBuffer; readonly rounds: number }

const end = new JournalEnd(workerData as SharedArrayBuffer)
const port = parentPort!

async function answer(request: Request): Promise<void> {
  const signal = AbortSignal.timeout(10_000)
  if ('seq' in request) {
    await end.wait(request.seq, signal)
  } else {
    const back = new JournalEnd(request.pingPong)
    for (let round = 1; round <= request.rounds; round++) {
      await end.wait(round, signal)
      back.publish(round + 1, 1)
    }
  }
  port.postMessage(end.nextSeq)
}

port.on('message', (request: Request) => void answer(request))
