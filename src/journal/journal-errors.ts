import { OutriggerError } from '../base/errors.ts'

/** Bytes in the middle of a journal are not what was written. What follows them can't be reached by reading on. */
export class JournalCorruptError extends OutriggerError {
  override readonly name = 'JournalCorruptError'
  override readonly code = 'journal_corrupt'
}

/** A segment was written by a later version, or with features that this one does not know. It is left as it is. */
export class JournalUnsupportedError extends OutriggerError {
  override readonly name = 'JournalUnsupportedError'
  override readonly code = 'journal_unsupported'
}

/** Another process uses the same data directory. */
export class DirectoryLockedError extends OutriggerError {
  override readonly name = 'DirectoryLockedError'
  override readonly code = 'directory_locked'
}
