import { readFile, writeFile } from 'node:fs/promises'
import { format, resolveConfig } from 'prettier'
import type { BacklogResult } from './backlog.ts'
import type { EndToEndResult } from './end-to-end.ts'
import type { IdleResult } from './footprint.ts'
import type { JournalResults } from './journal-appends.ts'
import type { Machine, Versions } from './machine.ts'
import type { NdjsonResult } from './ndjson-messages.ts'
import type { Parameters } from './parameters.ts'
import type { SingleResult } from './single-messages.ts'

/** All that one run has found, every round of it. What was not measured is absent. */
export interface Results {
  readonly format: 1
  readonly takenAt: string
  readonly minutes: number
  readonly machine: Machine
  readonly versions: Versions
  readonly parameters: Parameters
  readonly single?: readonly SingleResult[]
  readonly ndjson?: readonly NdjsonResult[]
  readonly endToEnd?: readonly EndToEndResult[]
  readonly idle?: readonly IdleResult[]
  /** MiB, of the process with Kafka behind it, through all of (a), (b) and (c) that were measured. */
  readonly loadPeakMiB?: number
  readonly backlog?: BacklogResult
}

export async function writeResults(results: Results | JournalResults, file: string): Promise<void> {
  const text = JSON.stringify(results)
  await writeFile(file, await format(text, { ...(await resolveConfig(file)), parser: 'json', filepath: file }))
}

export async function readResults(file: string): Promise<Results> {
  return JSON.parse(await readFile(file, 'utf8')) as Results
}

export async function readJournalResults(file: string): Promise<JournalResults> {
  return JSON.parse(await readFile(file, 'utf8')) as JournalResults
}
