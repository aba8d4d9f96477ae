import * as z from 'zod'
import type { Reading } from './quantities.ts'
import {
  day,
  formatShare,
  formatSize,
  GiB,
  hour,
  KiB,
  MiB,
  readShare,
  readSize,
  sharePattern,
  sizePattern,
  TiB,
} from './quantities.ts'
import { choice, duration, follows, path, read, share, size } from './setting.ts'

export const defaultDirectory = './outrigger-data'

/** What shall stay free on the disk: a share of the file system, or bytes. */
export type DiskFreeMin = { readonly share: number } | { readonly bytes: number }

/** Shares of topics, by name. */
export type TopicShares = Readonly<Record<string, number>>

/** With less, a topic that has used up its share would hardly be let in again. */
const topicShareLeast = 0.01

const topicPattern = /^[A-Za-z0-9._-]{1,249}$/

function diskFree(description: string): z.ZodType<DiskFreeMin> {
  const readFree = (input: unknown): Reading<DiskFreeMin> => {
    const asShare = readShare(input)
    if (asShare.ok) return asShare.value <= 0.5 ? { ok: true, value: { share: asShare.value } } : { ok: false }
    const asSize = readSize(input)
    if (!asSize.ok) return asSize
    const bytes = asSize.value
    // So few would keep nothing free: whoever writes 5 means 5%.
    if (bytes > 0 && bytes < MiB && !/[a-z]/i.test(String(input)))
      return { ok: false, hint: bytes <= 50 ? `did you mean ${bytes}%?` : 'a number without a unit is bytes' }
    return { ok: true, value: { bytes } }
  }
  return read(description, readFree, {
    kind: 'size',
    expected: 'a share from 0% to 50%, or a size; a number of bytes is 0, or 1MiB at least',
    sample: '2%',
    format(value) {
      const free = value as DiskFreeMin
      return 'share' in free ? formatShare(free.share) : formatSize(free.bytes)
    },
    jsonSchema: {
      anyOf: [
        { const: 0 },
        { type: 'integer', minimum: MiB },
        { type: 'string', pattern: sizePattern },
        { type: 'string', pattern: sharePattern },
      ],
    },
  })
}

/** A mapping in the file; `orders=20%,billing=5%` in the environment. */
function topicShares(description: string): z.ZodType<TopicShares> {
  const readShares = (input: unknown): Reading<TopicShares> => {
    const entries = entriesOf(input)
    if (entries === null || entries.length > 10_000) return { ok: false }
    const shares: [string, number][] = []
    for (const [topic, written] of entries) {
      const reading = readShare(written)
      if (!topicPattern.test(topic)) return { ok: false, hint: `“${topic}” is not a topic name` }
      if (!reading.ok) return reading
      if (reading.value < topicShareLeast)
        return { ok: false, hint: `a share is ${formatShare(topicShareLeast)} at least` }
      shares.push([topic, reading.value])
    }
    return { ok: true, value: Object.fromEntries(shares) }
  }
  return read(description, readShares, {
    kind: 'text',
    expected: 'topics with their shares, such as { orders: 20% }; in a variable "orders=20%,billing=5%"',
    sample: 'orders=20%',
    format: (value) =>
      Object.entries(value as TopicShares)
        .map(([topic, part]) => `${topic}=${formatShare(part)}`)
        .join(','),
    jsonSchema: {
      anyOf: [
        { type: 'object', additionalProperties: { type: 'string', pattern: sharePattern } },
        { type: 'string', pattern: '^([A-Za-z0-9._-]+=[0-9.]+%(,|$))*$' },
      ],
    },
  })
}

function entriesOf(input: unknown): [topic: string, share: unknown][] | null {
  if (typeof input === 'string')
    return input
      .split(',')
      .filter((part) => part.trim() !== '')
      .map((part) => {
        const at = part.indexOf('=')
        return at < 0 ? [part.trim(), undefined] : [part.slice(0, at).trim(), part.slice(at + 1).trim()]
      })
  if (typeof input !== 'object' || input === null || Array.isArray(input)) return null
  return Object.entries(input)
}

export const journal = z.strictObject({
  directory: path(
    'Folder for everything that Outrigger keeps on disk; created when it is missing. Put it on a local disk that survives a restart (in Kubernetes a persistent volume, or an `emptyDir` when losing the pod may lose what was not yet delivered), and give it to one process only. Relative to the working directory.',
  ).prefault(defaultDirectory),
  bytesMax: size(
    'Most disk space for messages that wait for delivery. When it is used up, `whenFull` says what happens. It decides how long an outage of the broker can last: divide it by the bytes published in a second. At least twice `segmentBytes`.',
    { min: 128 * KiB, max: 1024 * TiB },
  ).prefault('10GiB'),
  segmentBytes: size(
    'Size of one journal file. Disk space is given back in whole files; small ones suit small quotas, large ones a high rate. Must be more than 128 KiB larger than the largest message.',
    { min: 64 * KiB, max: GiB },
  ).prefault('64MiB'),
  diskFreeMin: follows(
    diskFree(
      'What stays free on the disk that holds `directory`, as a share of it or as a size, whoever fills it. With less, no messages are accepted (503 `disk_full`). `0` looks at nothing.',
    ),
    '`2%`, but at most `1GiB`',
  ),
  ageMax: duration(
    'Age of the oldest unfinished message above which no messages are accepted (503 `backlog_too_old`), because they would come too late anyway. It counts for all topics together: one topic that is stuck makes all be refused when its oldest message is so old. No limit without it.',
    { min: 1000, max: 3650 * day },
  ).optional(),
  warnAt: share(
    'How much of a limit (`bytesMax`, `diskFreeMin`, `ageMax`) is used up when the log and the status begin to warn. Less than `refuseLowAt`.',
    { min: 0.1, max: 1 },
  ).prefault('70%'),
  refuseLowAt: share(
    'How much of a limit is used up when messages of low priority are refused (503 `journal_nearly_full`): those with `Outrigger-Priority: low`, and those to `publish.lowPriorityTopics`. 100% refuses them together with all others.',
    { min: 0.1, max: 1 },
  ).prefault('85%'),
  whenFull: choice(
    'What happens when the journal is full. `reject` answers 503 at once. `block` lets publishers wait for room, for `blockDeadline` at most, then answers 503. `drop-oldest` deletes the oldest messages that are not delivered, for good; which ones, receipts, ledger and metrics tell.',
    ['reject', 'block', 'drop-oldest'],
  ).prefault('reject'),
  blockDeadline: duration(
    'With `whenFull: block` or `drop-oldest`, how long a publisher may wait for room. What waits is held in memory, within `publish.pendingBytesMax`.',
    { min: 10, max: hour },
  ).prefault('5s'),
  topicShareMax: follows(
    share(
      'How much of `bytesMax` the unfinished messages of one topic may take, so that a topic that is stuck, or floods, leaves room for the others (503 `topic_share_full`). A topic beyond its share is refused at once, whatever `whenFull` says. 100% sets no limit.',
      { min: topicShareLeast, max: 1 },
    ),
    '`90%` with `whenFull: reject`, else `100%`',
  ),
  topicShares: topicShares(
    'Topics that may take more or less than `topicShareMax`, as in `{ orders: 50%, clicks: 5% }`.',
  ).optional(),
  reserveBytes: size(
    'Space on the disk that is kept back for receipts, positions and dead letters: on a full disk, delivering and deleting go on in it, until there is room again. At most 5% of the file system; without a value of its own, at most a quarter of `bytesMax`. `0` keeps none.',
    { min: 0, max: 16 * GiB },
  ).prefault('32MiB'),
})
