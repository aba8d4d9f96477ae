import type { Finding } from './finding.ts'
import type { LocalAnswer } from './local-request.ts'

/** What the running sidecar says of a message: as much of `GET /messages/{id}` as is there. Times are as it writes them. */
export interface SidecarFate {
  readonly state: 'accepted' | 'delivered' | 'dead' | 'lost'
  readonly topic?: string
  readonly partition?: number
  readonly offset?: number
  readonly deliveredAt?: string
  readonly diedAt?: string
  readonly lostAt?: string
  readonly attempts?: number
  readonly reason?: string
}

/** Reads the answer to `GET /messages/{id}`. */
export function readFate({ status, body }: LocalAnswer): Finding<SidecarFate> {
  const members = objectIn(body)
  if (status === 200 && members !== null && isFate(members)) return { kind: 'known', known: members }
  if (status === 404 && members?.['code'] === 'message_not_found') return { kind: 'unknown' }
  const detail = members?.['detail']
  return { kind: 'not_asked', why: typeof detail === 'string' ? detail : `it answered ${status}, as no Outrigger does` }
}

const states: readonly unknown[] = ['accepted', 'delivered', 'dead', 'lost'] satisfies SidecarFate['state'][]
const types = {
  topic: 'string',
  partition: 'number',
  offset: 'number',
  deliveredAt: 'string',
  diedAt: 'string',
  lostAt: 'string',
  attempts: 'number',
  reason: 'string',
} as const satisfies Record<Exclude<keyof SidecarFate, 'state'>, string>

function isFate(
  members: Readonly<Record<string, unknown>>,
): members is Readonly<Record<string, unknown>> & SidecarFate {
  const fit = Object.entries(types).every(
    ([name, type]) => members[name] === undefined || typeof members[name] === type,
  )
  return fit && states.includes(members['state'])
}

function objectIn(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    // Whoever answers there, it is no Outrigger.
    return null
  }
}
