import type { Log } from '../base/log.ts'
import type { QuarantineObserver } from './quarantine.ts'

/** Logs what is damaged in the journal of this name. */
export function damageLog(log: Log, journal: string): QuarantineObserver {
  return {
    damaged({ segment, damageCount, lostRecords, damages: [first] }) {
      log.error(
        { journal, segment, damages: damageCount, lostRecords, first },
        'a file of a journal is damaged: what is readable of it is used, and its report is in quarantine/',
      )
    },
    unreported: ({ segment, lostRecords }, error) =>
      log.error(
        { journal, segment, lostRecords, error },
        'a file of a journal is damaged, and the report can not be written: the file will not be kept',
      ),
  }
}
