import { parentPort, workerData } from 'node:worker_threads'
import { JournalEnd } from '../../src/journal/journal-end.ts'
import { JournalReader } from '../../src/journal/journal-reader.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'

/** Readers in a thread of their own: they follow a journal until record `total`, each text beginning with its seq. */
export interface FollowRequest {
  readonly directory: string
  readonly shared: SharedArrayBuffer
  readonly total: number
  readonly readers: number
}

/** What one of them found. While it reads it also reports `{ reader, seq }`: it has passed all below. */
export interface Followed {
  readonly seqs: number
  readonly problem: string | null
}

const { directory, shared, total, readers } = workerData as FollowRequest
const port = parentPort!
port.ref() // a wait for the journal does not keep a thread alive

async function follow(index: number): Promise<Followed> {
  const end = new JournalEnd(shared)
  const reader = new JournalReader(nodeDisk, directory, end, 1)
  let seqs = 0
  let problem: string | null = null
  while (reader.nextSeq <= total) {
    const block = await reader.next()
    if (block === null) {
      await end.wait(reader.nextSeq, AbortSignal.timeout(10_000))
      continue
    }
    block.forEach((seq, bytes, start, stop) => {
      if (seq !== ++seqs) problem ??= `${seq} came as number ${seqs}`
      if (Number.parseInt(bytes.toString('latin1', start, stop), 10) !== seq) problem ??= `${seq} has other bytes`
    })
    // One of them far behind, so that it reads sealed segments.
    if (index === 0 && seqs % 10 === 0) await new Promise<void>((resolve) => setTimeout(resolve, 1))
    port.postMessage({ reader: index, seq: reader.nextSeq })
  }
  await reader.close()
  return { seqs, problem }
}

for (let index = 0; index < readers; index++)
  follow(index).then(
    (followed) => port.postMessage(followed),
    (error: unknown) => port.postMessage({ seqs: 0, problem: String(error) } satisfies Followed),
  )
