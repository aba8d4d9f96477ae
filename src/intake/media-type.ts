import { Refusal } from './refusal.ts'

/** How a body is to be read. */
export type BodyFormat = 'raw' | 'ndjson'

/**
 * What the media type makes of a body: one message a line, or, for any type that is not named here, the value of one
 * message. Types that are known to wrap messages, and that this version does not read, are refused: taken as they
 * are, they would reach consumers in their wrapping, and nobody would notice for a while.
 */
export function bodyFormat(contentType: string | null): BodyFormat {
  if (contentType === null) return 'raw'
  const end = contentType.indexOf(';')
  const type = (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
  switch (type) {
    case 'application/x-ndjson':
    case 'application/ndjson':
    case 'application/jsonl':
    case 'application/x-jsonlines':
      refuseOtherCharset(contentType)
      return 'ndjson'
    default:
      if (type.startsWith('application/vnd.kafka.'))
        throw new Refusal(
          'media_type_unsupported',
          `${type} (REST Proxy) is not read by this version. Send the value itself, or application/x-ndjson.`,
        )
      if (type.startsWith('application/cloudevents')) throw cloudEventRefusal()
      return 'raw'
  }
}

export function cloudEventRefusal(): Refusal {
  return new Refusal(
    'media_type_unsupported',
    'CloudEvents are not read by this version. Send the event as the value, under another media type and without ce- headers.',
  )
}

const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i

function refuseOtherCharset(contentType: string): void {
  const name = charset.exec(contentType)?.[1]?.toLowerCase() ?? 'utf-8'
  if (name === 'utf-8' || name === 'utf8' || name === 'us-ascii') return
  throw new Refusal('media_type_unsupported', `NDJSON is UTF-8; ${name} is not read.`)
}
