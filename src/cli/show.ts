import { messageOf } from '../base/errors.ts'
import type { ListenAddress } from '../base/listen-address.ts'
import { formatMessageId } from '../message/message-id.ts'
import type { LogEntry, MessageLog } from '../recorder/message-log.ts'
import type { MetadataRow, MetadataStore } from '../recorder/metadata-store.ts'
import type { TextOutput } from './config-check.ts'
import type { Finding } from './finding.ts'
import type { ShowArguments } from './command-line.ts'
import type { LocalAnswer } from './local-request.ts'
import { askLocally } from './local-request.ts'
import type { Findings } from './message-facts.ts'
import { factLines, factsJson } from './message-facts.ts'
import type { SidecarFate } from './sidecar-fate.ts'
import { readFate } from './sidecar-fate.ts'

/** Whom to ask. What is null is not there, by the configuration. */
export interface ShowSources {
  /** `GET` at the publishers' listener of the sidecar; null when its address can't be known. */
  readonly askSidecar: ((path: string) => Promise<LocalAnswer>) | null
  readonly metadata: MetadataStore | null
  readonly log: MessageLog | null
}

/**
 * Prints what the running sidecar and the ledger know of a message, and who of them could not be asked. Returns the exit
 * code: 0, or 1 when nothing is known.
 */
export async function show(
  sources: ShowSources,
  options: ShowArguments,
  out: TextOutput,
  err: TextOutput,
  signal: AbortSignal,
): Promise<number> {
  const id = formatMessageId(options.journalId, options.seq)
  const [sidecar, metadata] = await Promise.all([askSidecar(sources, id), askMetadata(sources, options, signal)])
  const log = options.content ? await askLog(sources, options, sidecar, metadata, signal) : null
  const findings: Findings = { id, sidecar, metadata, log }
  const isKnown = [sidecar, metadata, log].some((finding) => finding?.kind === 'known')
  if (options.json) out.write(`${JSON.stringify(factsJson(findings), null, 2)}\n`)
  else (isKnown ? out : err).write(factLines(findings))
  return isKnown ? 0 : 1
}

/** How to ask the sidecar that listens at the first of these addresses; null when it has picked its port itself. */
export function sidecarAt([address]: readonly ListenAddress[]): ShowSources['askSidecar'] {
  if (address === undefined || (address.kind === 'tcp' && address.port === 0)) return null
  return (path) => askLocally(address, path, sidecarTimeoutMs)
}

/** It gives its ledger 10 s to answer. */
const sidecarTimeoutMs = 12_000

async function askSidecar({ askSidecar: ask }: ShowSources, id: string): Promise<Finding<SidecarFate>> {
  if (ask === null)
    return { kind: 'not_asked', why: 'publish.listen leaves its port open, so nobody knows where it is' }
  try {
    return readFate(await ask(`/messages/${id}`))
  } catch (error) {
    return { kind: 'not_asked', why: messageOf(error) }
  }
}

async function askMetadata(
  { metadata }: ShowSources,
  { journalId, seq }: ShowArguments,
  signal: AbortSignal,
): Promise<Finding<MetadataRow>> {
  if (metadata === null) return { kind: 'not_asked', why: 'there is none (ledger.metadata)' }
  return findingOf(() => metadata.find(journalId, seq, signal), signal)
}

async function askLog(
  { log }: ShowSources,
  { journalId, seq }: ShowArguments,
  sidecar: Finding<SidecarFate>,
  metadata: Finding<MetadataRow>,
  signal: AbortSignal,
): Promise<Finding<LogEntry>> {
  if (log === null) return { kind: 'not_asked', why: 'there is none (ledger.log)' }
  const {
    topic = null,
    partition = null,
    offset = null,
  } = {
    ...(sidecar.kind === 'known' && sidecar.known),
    ...(metadata.kind === 'known' && metadata.known),
  }
  if (topic === null || partition === null || offset === null)
    return { kind: 'not_asked', why: 'nobody says where in the topic the message is' }
  return findingOf(async () => {
    const entry = await log.read(topic, partition, offset, signal)
    return entry?.journalId === journalId && entry.seq === seq ? entry : null
  }, signal)
}

async function findingOf<T>(look: () => Promise<T | null>, signal: AbortSignal): Promise<Finding<T>> {
  try {
    const known = await look()
    return known === null ? { kind: 'unknown' } : { kind: 'known', known }
  } catch (error) {
    signal.throwIfAborted()
    const hint = error instanceof Error && 'hint' in error ? String(error.hint) : ''
    return { kind: 'not_asked', why: [messageOf(error), hint].filter(Boolean).join('. ') }
  }
}
