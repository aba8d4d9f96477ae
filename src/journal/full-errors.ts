import { UnavailableError } from '../base/errors.ts'
import type { Gauge } from './watermarks.ts'

const retryAfterSeconds = 5

/** Messages of low priority are refused. */
export function nearlyFullError(): UnavailableError {
  const text = 'the journal has no room for messages of low priority'
  return new UnavailableError('journal_nearly_full', text, { retryAfterSeconds })
}

/** A topic has as much waiting as one may. */
export function shareError(topic: string, bytesMax: number): UnavailableError {
  const text = `what waits of ${topic} takes its share of the journal (${Math.floor(bytesMax)} bytes, journal.topicShareMax) already`
  return new UnavailableError('topic_share_full', text, { retryAfterSeconds })
}

/** All are refused until the reserve is whole again. */
export function reserveError(): UnavailableError {
  const text =
    'the disk is or was full, and the reserve for delivering and deleting (journal.reserveBytes) is not whole again'
  return new UnavailableError('disk_full', text, {
    retryAfterSeconds,
    hint: 'What is accepted goes on being delivered, out of the reserve. Make room on the disk.',
  })
}

/** All are refused, because this gauge is at its limit. */
export function fullError(gauge: Gauge, bytesMax: number): UnavailableError {
  switch (gauge) {
    case 'bytes':
      return new UnavailableError('journal_full', `what is kept takes journal.bytesMax (${bytesMax} bytes) already`, {
        retryAfterSeconds,
        hint: 'It empties as messages are delivered; see whether the broker is away.',
      })
    case 'disk':
      return new UnavailableError('disk_full', 'too little is free on the disk (journal.diskFreeMin)', {
        retryAfterSeconds,
      })
    case 'age':
      return new UnavailableError('backlog_too_old', 'messages wait for too long already (journal.ageMax)', {
        retryAfterSeconds,
      })
  }
}
