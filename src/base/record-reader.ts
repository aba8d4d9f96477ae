/** Records of a journal that were written together. Every reader gives the same blocks, each as a whole. */
export interface RecordBlock {
  readonly firstSeq: number
  readonly count: number
  /** Milliseconds since the epoch. */
  readonly writtenAt: number
  /**
   * Not null when it only stands for records that are not there: what was written can't be read (`corrupt`), or its file is
   * `missing`; it is all `gone` before the oldest that there is (released, or missing: the reader can't know); or the writer
   * has `skipped` their seqs, which nobody had.
   */
  readonly lost: { readonly reason: 'corrupt' | 'missing' | 'gone' | 'skipped' } | null
  /** Calls `visit` for every record that is not lost; the bytes are valid only until the reader reads on. */
  forEach(visit: (seq: number, bytes: Buffer, start: number, end: number) => void): void
}

export interface RecordReader {
  /** The lowest seq that the next block may hold. */
  readonly nextSeq: number
  /** The next block in order, or null at the durable end. */
  next(): Promise<RecordBlock | null>
  close(): Promise<void>
}

/** A journal as those see it who read it. */
export interface ReadableJournal {
  readonly id: string
  readonly end: {
    /** One past the last durable seq. */
    readonly nextSeq: number
    /** Resolves when `nextSeq` is greater than `seq`. */
    wait(seq: number, signal: AbortSignal): Promise<void>
  }
  /** Reads from `seq` on, or from the oldest record when that one is gone. */
  reader(fromSeq: number): RecordReader
}
