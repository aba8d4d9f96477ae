import { OutriggerError } from '../../src/base/errors.ts'
import type { Random } from '../torture/random.ts'

/** What can fail. To allocate is to write beyond the end of the file. */
export const operations = [
  'read',
  'write',
  'allocate',
  'sync',
  'truncate',
  'size',
  'close',
  'open',
  'create',
  'rename',
  'unlink',
  'list',
  'syncDirectory',
] as const

export type Operation = (typeof operations)[number]

export const faultCodes = ['EIO', 'ENOSPC', 'EDQUOT', 'short_write'] as const

/** A disk that fails for a while. */
export interface Fault {
  readonly operation: Operation
  readonly code: (typeof faultCodes)[number]
  /** So many of these operations go well before. */
  readonly after: number
  /** And then so many fail. */
  readonly times: number
  /** A change of a name is reported as failed, and has been made nevertheless. */
  readonly isDone: boolean
}

/** The failures that are to come. */
export class Faults {
  #armed: { fault: Fault; after: number; times: number }[] = []
  /** How often something has failed. */
  count = 0

  arm(fault: Fault): void {
    this.#armed.push({ fault, after: fault.after, times: fault.times })
  }

  /** From now on nothing fails. */
  end(): void {
    this.#armed = []
  }

  /** The fault that this operation meets, or null. */
  next(operation: Operation): Fault | null {
    for (const armed of this.#armed) {
      if (armed.fault.operation !== operation || armed.times === 0) continue
      if (armed.after > 0) {
        armed.after--
        continue
      }
      armed.times--
      this.count++
      return armed.fault
    }
    return null
  }

  /** A file system that is full. */
  full(random: Random): Fault['code'] {
    this.count++
    return random.pick(['ENOSPC', 'EDQUOT', 'short_write'])
  }
}

/** As node reports it; nothing but its code tells it from a real one. */
export function systemError(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: simulated, ${what}`), { code })
}

/** A promise that the journal broke. */
export class Violation extends OutriggerError {
  override readonly name = 'Violation'
  override readonly code = 'violation'
}
