import type { Log } from '../../src/base/log.ts'
import type { ConsumedRecord, Consumer } from '../../src/subscriptions/consumer.ts'

/** A log that keeps its last lines, for telling why a test failed. */
export class KeptLog implements Log {
  readonly lines: string[] = []

  readonly debug = (details: object, message: string): void => {
    this.lines.push(`${performance.now().toFixed(0)} ${message} ${JSON.stringify(details).slice(0, 500)}`)
    if (this.lines.length > 200) this.lines.shift()
  }
  readonly info = this.debug
  readonly warn = this.debug
  readonly error = this.debug
}

/** The first `count` records of a topic, and whatever comes within a moment after them; partition by partition. */
export async function takeRecords(
  consumer: Consumer,
  topic: string,
  count: number,
  log?: KeptLog,
): Promise<ConsumedRecord[]> {
  const records: ConsumedRecord[] = []
  const enough = new AbortController()
  const limit = setTimeout(() => enough.abort(), 15_000)
  let grace: NodeJS.Timeout | undefined
  for await (const record of consumer.read(topic, 'beginning', enough.signal)) {
    records.push(record)
    if (records.length >= count) grace ??= setTimeout(() => enough.abort(), 30)
  }
  if (records.length < count) {
    throw new Error(`only ${records.length} of ${count} records came\n${log?.lines.join('\n') ?? ''}`)
  }
  clearTimeout(limit)
  clearTimeout(grace)
  return records.toSorted((a, b) => a.partition - b.partition || a.offset - b.offset)
}
