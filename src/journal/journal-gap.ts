/** Stands for records of a journal that are lost; a block without any. */
export class JournalGap {
  readonly firstSeq: number
  readonly count: number
  /** When they were written is not known. */
  readonly writtenAt = 0
  readonly lost: { readonly reason: 'corrupt' | 'missing' | 'gone' }

  constructor(fromSeq: number, toSeq: number, reason: 'corrupt' | 'missing' | 'gone') {
    this.firstSeq = fromSeq
    this.count = toSeq - fromSeq
    this.lost = { reason }
  }

  /** There are none to visit. */
  forEach(): void {}
}
