/** A message as the benchmark publishes it. */
export interface BenchMessage {
  readonly key: string | null
  readonly value: string
}

/** A request body with its headers, ready to be sent again and again. */
export interface BenchRequest {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

const KEYS = 1000

/** `count` messages with values of `valueBytes`; keyed ones take turns with 1,000 keys. */
export function benchMessages(count: number, valueBytes: number, keyed: boolean): BenchMessage[] {
  const text = 'The quick brown fox jumps over the lazy dog, and 0123456789 more of them follow. '
  const value = text.repeat(Math.ceil(valueBytes / text.length)).slice(0, valueBytes)
  return Array.from({ length: count }, (_, index) => ({
    key: keyed ? `key-${String(index % KEYS).padStart(4, '0')}` : null,
    value,
  }))
}

/** The requests that publish the messages, `batch` in each. A batch of one is a single message with a raw body. */
export function benchRequests(messages: readonly BenchMessage[], batch: number): BenchRequest[] {
  if (batch === 1) {
    return messages.map(({ key, value }) => ({
      headers: { 'Content-Type': 'text/plain', ...(key === null ? {} : { 'Outrigger-Key': key }) },
      body: value,
    }))
  }
  const requests: BenchRequest[] = []
  for (let from = 0; from + batch <= messages.length; from += batch) {
    const lines = messages.slice(from, from + batch).map(({ key, value }) => {
      return JSON.stringify(key === null ? { value } : { key, value })
    })
    requests.push({ headers: { 'Content-Type': 'application/x-ndjson' }, body: `${lines.join('\n')}\n` })
  }
  return requests
}
