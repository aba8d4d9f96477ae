/** How a journal's records become bytes. */
export interface RecordCodec<T> {
  /** At least as many bytes as `encode` will write. */
  sizeMax(record: T): number
  /** Writes the record at `at` and returns where it ends. */
  encode(record: T, into: Buffer, at: number): number
}
