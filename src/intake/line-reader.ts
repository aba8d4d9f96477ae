import { isAscii, isUtf8 } from 'node:buffer'
import { GrowingBuffer } from './growing-buffer.ts'

const newline = 0x0a

/** Why a line can't be read as text. */
export type LineFault = 'too_long' | 'not_utf8'

/**
 * Cuts chunks of bytes into lines of text, one at a time and on demand. Chunks are decoded as a whole where they can be, because
 * a call for each line costs more than the decoding. What it holds is bounded by the chunks that were pushed and not yet
 * read, and the longest line: of a line that is too long nothing is kept.
 */
export class LineReader {
  /** The line that `next` found; '' when it has a fault, or is empty. */
  line = ''
  fault: LineFault | null = null
  /** Its number; the first is 1. */
  lineNumber = 0
  /** How many of the bytes pushed are done with now that it was read; with `takeForgotten` they add up to all of them. */
  lineBytes = 0

  readonly #lineBytesMax: number
  #chunks: Buffer[] = []
  #chunkAt = 0
  #ended = false
  /** The beginning of a line whose end has not come. */
  readonly #carry: GrowingBuffer
  /** How much of that line was reported as forgotten. */
  #forgottenBytes = 0
  /** What was decoded of complete lines, and where the next one starts. */
  #text = ''
  #textAt = 0
  /** The same as bytes, when not all of its lines are UTF-8; then `#text` has a character for each byte. */
  #bytes: Buffer | null = null
  /** How many bytes the text has more than it has characters. */
  #surplusBytes = 0

  constructor(options: { readonly lineBytesMax: number }) {
    this.#lineBytesMax = options.lineBytesMax
    this.#carry = new GrowingBuffer(options.lineBytesMax)
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
  }

  /** No more chunks come: what is left is the last line, if it is anything at all. */
  end(): void {
    this.#ended = true
  }

  /** Whether `next` may find a line in what was pushed. Once it returned false, this is false. */
  get hasMore(): boolean {
    if (this.#textAt < this.#text.length || this.#chunkAt < this.#chunks.length) return true
    return this.#ended && this.#carry.length > 0
  }

  /** Bytes that are done with although their line has not ended, since the last call: the line is too long already. */
  takeForgotten(): number {
    const { length } = this.#carry
    if (length <= this.#lineBytesMax) return 0
    const bytes = length - this.#forgottenBytes
    this.#forgottenBytes = length
    return bytes
  }

  /** Moves on to the next line. False when its end has not come yet; after `end`, when there is none. */
  next(): boolean {
    while (this.#textAt >= this.#text.length) {
      if (this.#chunkAt === this.#chunks.length) return this.#last()
      const chunk = this.#chunks[this.#chunkAt++] as Buffer
      if (this.#chunkAt === this.#chunks.length) {
        this.#chunks = []
        this.#chunkAt = 0
      }
      if (this.#load(chunk)) return true
    }
    const start = this.#textAt
    const end = this.#text.indexOf('\n', start)
    this.#textAt = end + 1
    let bytes = end + 1 - start
    if (this.#textAt === this.#text.length) bytes += this.#surplusBytes
    if (this.#bytes === null) this.#found(this.#text.slice(start, end), bytes)
    else this.#foundBytes(this.#bytes.subarray(start, end), bytes)
    return true
  }

  /** Takes a chunk apart. True when it completes the line that earlier chunks began, which then is the next. */
  #load(chunk: Buffer): boolean {
    const first = chunk.indexOf(newline)
    if (first < 0) {
      this.#carry.add(chunk)
      return false
    }
    const last = chunk.lastIndexOf(newline)
    const start = this.#carry.length > 0 ? first + 1 : 0
    this.#decode(chunk.subarray(start, last + 1))
    if (start > 0) {
      this.#carry.add(chunk.subarray(0, first))
      this.#foundCarry(1)
    }
    if (last + 1 < chunk.length) this.#carry.add(chunk.subarray(last + 1))
    return start > 0
  }

  #foundCarry(newlineBytes: number): void {
    const bytes = this.#carry.length + newlineBytes - this.#forgottenBytes
    this.#forgottenBytes = 0
    const line = this.#carry.take()
    if (line === null) this.#foundFault('too_long', bytes)
    else this.#foundBytes(line, bytes)
  }

  #last(): boolean {
    if (!this.#ended || this.#carry.length === 0) return false
    this.#foundCarry(0)
    return true
  }

  #decode(lines: Buffer): void {
    this.#textAt = 0
    this.#bytes = null
    this.#surplusBytes = 0
    if (isAscii(lines)) {
      this.#text = lines.toString('latin1')
    } else if (isUtf8(lines)) {
      this.#text = lines.toString('utf8')
      this.#surplusBytes = lines.length - this.#text.length
    } else {
      this.#text = lines.toString('latin1')
      this.#bytes = lines
    }
  }

  #foundBytes(line: Buffer, bytes: number): void {
    if (isUtf8(line)) this.#found(line.toString('utf8'), bytes)
    else this.#foundFault('not_utf8', bytes)
  }

  #found(line: string, bytes: number): void {
    if (line.length * 3 > this.#lineBytesMax && Buffer.byteLength(line) > this.#lineBytesMax) {
      this.#foundFault('too_long', bytes)
      return
    }
    // A byte order mark says nothing in UTF-8, but some programs write one.
    this.line = this.lineNumber === 0 && line.charCodeAt(0) === 0xfeff ? line.slice(1) : line
    this.lineNumber++
    this.lineBytes = bytes
    this.fault = null
  }

  #foundFault(fault: LineFault, bytes: number): void {
    this.lineNumber++
    this.lineBytes = bytes
    this.line = ''
    this.fault = fault
  }
}

const blank = /^[ \t\r]*$/

/** Whether there is nothing on a line. */
export function isBlank(line: string): boolean {
  return line.charCodeAt(0) !== 0x7b /* { */ && blank.test(line)
}
