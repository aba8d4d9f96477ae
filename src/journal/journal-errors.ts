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

/** A segment or a cursor is encrypted under a key that the key ring does not hold. It is left as it is. */
export class JournalKeyMissingError extends OutriggerError {
  override readonly name = 'JournalKeyMissingError'
  override readonly code = 'journal_key_missing'
}

/** There is something that is not encrypted, in a journal that is. */
export class JournalUnencryptedError extends OutriggerError {
  override readonly name = 'JournalUnencryptedError'
  override readonly code = 'journal_unencrypted'
}

/** Another process uses the same data directory. */
export class DirectoryLockedError extends OutriggerError {
  override readonly name = 'DirectoryLockedError'
  override readonly code = 'directory_locked'
}
