/**
 * Appends records durably in several ways, which take turns of a few milliseconds, so that whatever else the machine does
 * falls upon all of them. Started as `node journal-appender.ts FILE`, where the file holds an `AppendLoad`; prints the
 * `AppendRound`s.
 */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openLog, type DurableLog, type Way } from './durable-logs.ts'

export interface AppendLoad {
  /** In which they take turns. */
  readonly ways: readonly Way[]
  /** An empty folder. */
  readonly directory: string
  /** How many append at once; each appends its next record when the last one is durable. */
  readonly appenders: number
  readonly recordBytes: number
  readonly rounds: number
  readonly turnMs: number
}

export interface AppendResult {
  readonly perSecond: number
  readonly cpuMicrosPerRecord: number
  /** What the process has given to write(2) and its like, for each byte of a record. */
  readonly writtenPerByte: number
}

/** A turn of each way. */
export type AppendRound = Readonly<Partial<Record<Way, AppendResult>>>

const load = JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')) as AppendLoad
const record = Buffer.alloc(load.recordBytes, 'outrigger ')
const logs = new Map<Way, DurableLog>()
for (const way of load.ways) {
  const directory = join(load.directory, way)
  await mkdir(directory)
  logs.set(way, await openLog(way, directory))
}
// The first rounds warm up what V8 compiles.
const warmUpRounds = 2
const rounds: AppendRound[] = []
for (let round = -warmUpRounds; round < load.rounds; round++) {
  const results = await turns(round)
  if (round >= 0) rounds.push(results)
}
for (const log of logs.values()) await log.close()
process.stdout.write(JSON.stringify(rounds))

/** Each round begins with another way, because some leave work behind that goes on for a while. */
async function turns(round: number): Promise<AppendRound> {
  const order = [...logs]
  const first = (round + order.length * warmUpRounds) % order.length
  const results: Partial<Record<Way, AppendResult>> = {}
  for (const [way, log] of [...order.slice(first), ...order.slice(0, first)]) results[way] = await turn(log)
  return results
}

async function turn(log: DurableLog): Promise<AppendResult> {
  const writtenBefore = await bytesWritten()
  const cpuBefore = process.cpuUsage()
  const begunAt = performance.now()
  const until = begunAt + load.turnMs
  let count = 0
  const appendOn = async (): Promise<void> => {
    while (performance.now() < until) {
      await log.append(record)
      count++
    }
  }
  await Promise.all(Array.from({ length: load.appenders }, appendOn))
  const seconds = (performance.now() - begunAt) / 1000
  const { user, system } = process.cpuUsage(cpuBefore)
  const written = (await bytesWritten()) - writtenBefore
  return {
    perSecond: Math.round(count / seconds),
    cpuMicrosPerRecord: Math.round(((user + system) / count) * 100) / 100,
    writtenPerByte: Math.round((written / (count * load.recordBytes)) * 1000) / 1000,
  }
}

/**
 * `wchar` of /proc/self/io. Its `write_bytes` counts pages that were made dirty, and with large folios that is two or three
 * times what goes to the disk.
 */
async function bytesWritten(): Promise<number> {
  return Number(/^wchar: (\d+)$/m.exec(await readFile('/proc/self/io', 'utf8'))?.[1])
}
