import type { LogEntry } from '../recorder/message-log.ts'
import type { MetadataRow } from '../recorder/metadata-store.ts'
import type { Finding } from './finding.ts'
import { harmless, jsonField, shown, textOf, timeText } from './record-lines.ts'
import type { SidecarFate } from './sidecar-fate.ts'

/** What came of asking about one message. */
export interface Findings {
  readonly id: string
  readonly sidecar: Finding<SidecarFate>
  readonly metadata: Finding<MetadataRow>
  /** Null when the content is not asked for. */
  readonly log: Finding<LogEntry> | null
}

/** All that is known of one message. Times are RFC 3339. */
interface Facts {
  readonly id: string
  /** Null when nobody knows the message. */
  readonly state: 'accepted' | 'delivered' | 'dead' | 'lost' | null
  readonly topic: string | null
  readonly partition: number | null
  readonly offset: number | null
  readonly acceptedAt: string | null
  readonly deliveredAt: string | null
  readonly diedAt: string | null
  readonly lostAt: string | null
  readonly recordedAt: string | null
  readonly attempts: number | null
  readonly reason: string | null
  readonly key: Buffer | null
  readonly producer: string | null
  readonly contentType: string | null
  readonly valueBytes: number | null
  readonly headers: readonly { readonly name: string; readonly value?: string; readonly valueBase64?: string }[]
  readonly traceId: string | null
}

/** The ledger knows more than the sidecar says, and what it knows is final. */
function factsOf({ id, sidecar, metadata, log }: Findings): Facts {
  const fate = sidecar.kind === 'known' ? sidecar.known : null
  const row = metadata.kind === 'known' ? metadata.known : null
  const entry = log?.kind === 'known' ? log.known : null
  const finishedAs = (status: MetadataRow['status']): string | null =>
    row?.status === status ? timeText(row.finishedAt) : null
  return {
    id,
    state: row?.status ?? fate?.state ?? null,
    topic: row?.topic ?? fate?.topic ?? null,
    partition: row?.partition ?? fate?.partition ?? null,
    offset: row?.offset ?? fate?.offset ?? null,
    acceptedAt: row ? timeText(row.acceptedAt) : entry && timeText(entry.acceptedAt),
    deliveredAt: row ? finishedAs('delivered') : (fate?.deliveredAt ?? null),
    diedAt: row ? finishedAs('dead') : (fate?.diedAt ?? null),
    lostAt: row ? null : (fate?.lostAt ?? null),
    recordedAt: row && timeText(row.recordedAt),
    attempts: row?.attempts ?? fate?.attempts ?? null,
    reason: row?.reason ?? fate?.reason ?? null,
    key: row?.key ?? entry?.key ?? null,
    producer: row?.producer ?? null,
    contentType: row?.contentType ?? entry?.contentType ?? null,
    valueBytes: row?.valueBytes ?? entry?.value?.length ?? null,
    headers: row?.headers ? (JSON.parse(row.headers) as Facts['headers']) : [],
    traceId: row?.traceId ?? null,
  }
}

/**
 * What `show --json` prints: the facts, and `sources` with what came of asking each: `known`, `unknown`, or `not_asked`
 * and `why`. With the content asked for, and found, `value` or `valueBase64`.
 */
export function factsJson(findings: Findings): object {
  const { key, ...facts } = factsOf(findings)
  const { sidecar, metadata, log } = findings
  return {
    ...facts,
    ...jsonField('key', key),
    ...(log?.kind === 'known' && jsonField('value', log.known.value && Buffer.from(log.known.value))),
    sources: { sidecar: outcome(sidecar), metadata: outcome(metadata), ...(log && { log: outcome(log) }) },
  }
}

function outcome<T>(finding: Finding<T>): object {
  return { answer: finding.kind, ...(finding.kind === 'not_asked' && { why: finding.why }) }
}

/** What `show` prints for people: a fact a line, then who could not be asked, and the value at the end. */
export function factLines(findings: Findings): string {
  const facts = factsOf(findings)
  const { sidecar, metadata, log } = findings
  const lines: [label: string, text: string | null][] = [
    ['message', facts.id],
    ['state', facts.state ?? 'nothing is known of it'],
    ['topic', facts.topic],
    ['partition', numberText(facts.partition)],
    ['offset', numberText(facts.offset)],
    ['accepted', facts.acceptedAt],
    ['delivered', facts.deliveredAt && `${facts.deliveredAt}${laterThan(facts.acceptedAt, facts.deliveredAt)}`],
    ['died', facts.diedAt && `${facts.diedAt}${laterThan(facts.acceptedAt, facts.diedAt)}`],
    ['lost', facts.lostAt],
    ['reason', facts.reason],
    ['attempts', numberText(facts.attempts)],
    ['recorded', facts.recordedAt],
    ['key', facts.key && shown(facts.key, keyLengthMax)],
    ['producer', facts.producer],
    ['content type', facts.contentType],
    ['value', valueSize(findings, facts)],
    ...facts.headers.map(({ name, value, valueBase64 }): [string, string] => [
      'header',
      `${name}: ${value ?? `${valueBase64} (Base64)`}`,
    ]),
    ['trace', facts.traceId],
    ['sidecar', sourceText(sidecar)],
    ['metadata', sourceText(metadata)],
    ['message log', log && sourceText(log)],
  ]
  const text = lines
    .filter(([, fact]) => fact !== null)
    .map(([label, fact]) => `${label.padEnd(labelWidth)}${harmless(fact as string)}\n`)
    .join('')
  return text + contentText(log)
}

const labelWidth = 14
/** Rows hold no longer ones. */
const keyLengthMax = 255

function numberText(number: number | null): string | null {
  return number === null ? null : String(number)
}

function laterThan(from: string | null, to: string): string {
  return from === null ? '' : ` (${Date.parse(to) - Date.parse(from)} ms later)`
}

/** A value of no known size is a tombstone where the ledger has the message. */
function valueSize({ metadata, log }: Findings, { valueBytes }: Facts): string | null {
  if (valueBytes !== null) return valueBytes === 1 ? '1 byte' : `${valueBytes} bytes`
  return metadata.kind === 'known' || log?.kind === 'known' ? 'none: a tombstone' : null
}

function sourceText<T>(finding: Finding<T>): string {
  switch (finding.kind) {
    case 'known':
      return 'knows it'
    case 'unknown':
      return 'knows nothing of it'
    case 'not_asked':
      return `could not be asked: ${finding.why}`
    default:
      return finding satisfies never
  }
}

function contentText(log: Findings['log']): string {
  if (log?.kind !== 'known' || log.known.value === null) return ''
  const value = Buffer.from(log.known.value)
  const text = textOf(value)
  if (text === undefined) return `\n(${value.length} bytes, not UTF-8; --json gives them in Base64)\n`
  // Lines stay lines; all else could do things to a terminal.
  return `\n${text.split('\n').map(harmless).join('\n')}\n`
}
