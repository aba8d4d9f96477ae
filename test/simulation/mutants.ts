import type { Mutant } from './mutation.ts'

const activeSegment = 'src/journal/active-segment.ts'
const segmentStore = 'src/journal/segment-store.ts'
const tailRecovery = 'src/journal/tail-recovery.ts'
const segmentReader = 'src/journal/segment-reader.ts'
const cursorFile = 'src/journal/cursor-file.ts'
const segmentCipher = 'src/journal/segment-cipher.ts'

/** What journals have got wrong before, or what this one would if somebody forgot why a line is there. */
export const mutants: readonly Mutant[] = [
  one('answers before the sync', {
    file: activeSegment,
    search: 'await this.file.writeDurably(whole.subarray(0, bytes), this.offset)',
    replacement: 'await this.file.write(whole.subarray(0, bytes), this.offset)',
  }),
  one('does not sync the directory after it has made a segment', {
    file: segmentStore,
    search: 'await this.#disk.rename(from, path)\n      await this.#disk.syncDirectory(this.#directory)',
    replacement: 'await this.#disk.rename(from, path)',
  }),
  one('does not sync the directory before it uses a drained file again', {
    file: segmentStore,
    search: 'if (!this.#namesChanged) return\n    await this.#disk.syncDirectory(this.#directory)',
    replacement: '',
  }),
  one('lets segments be deleted before the cursor is durable', {
    file: 'test/simulation/required-reader.ts',
    search: 'await cursor.write(position)\n',
    replacement: 'await this.#letGo(journal, seq)\n    await cursor.write(position)\n',
  }),
  one('syncs again after a sync that failed', {
    file: activeSegment,
    search: 'await this.file.writeDurably(whole.subarray(0, bytes), this.offset)',
    replacement: 'await this.file.writeDurably(whole.subarray(0, bytes), this.offset).catch(() => this.file.sync())',
  }),
  one('trusts the old bytes of a recycled file', {
    file: 'src/journal/format.ts',
    search: 'return crc32(uuid)',
    replacement: 'return uuid.length - 16',
  }),
  {
    name: 'goes on behind a torn tail',
    edits: [
      {
        file: activeSegment,
        search: '  hasRoomFor(block: PendingBlock): boolean {',
        replacement: `  goOn(reader, blocks) {
    this.offset = reader.offset
    this.nextSeq = reader.nextSeq
    this.#previousCrc = reader.previousCrc ?? this.#previousCrc
    this.#blocks = blocks
    return this
  }

  hasRoomFor(block: PendingBlock): boolean {`,
      },
      {
        file: tailRecovery,
        search: '    last = { offset, bytes',
        replacement: '    reader.blocks = (reader.blocks ?? 0) + 1\n    last = { offset, bytes',
      },
      {
        file: tailRecovery,
        search: "import { indexSpacing, writeFooter } from './active-segment.ts'",
        replacement: "import { ActiveSegment, indexSpacing } from './active-segment.ts'",
      },
      {
        file: tailRecovery,
        search:
          'await writeFooter(file, { nextSeq, offset, index }, header.uuid, segmentCipher(header, keys, path)).catch(',
        replacement: 'await Promise.reject(new Error()).catch(',
      },
      {
        file: tailRecovery,
        search: 'return { header, nextSeq: reader.nextSeq }',
        replacement: `const { blocks } = reader
    if (blocks === undefined) return { header, nextSeq: reader.nextSeq }
    const rest = Buffer.alloc(4096)
    const again = await disk.open(path, 'write')
    const torn = await again.read(rest, reader.offset)
    const active = new ActiveSegment(path, again, header, 0, segmentCipher(header, keys, path), 1e6, await again.size())
    active.goOn(reader, blocks)
    active.offset += rest.subarray(0, torn).findLastIndex((byte) => byte !== 0) + 1
    return { header, nextSeq: reader.nextSeq, active }`,
      },
      {
        file: segmentStore,
        search: 'const { header, nextSeq } = await recoverTail(disk, last.path, keys)',
        replacement: 'const { header, nextSeq, active } = await recoverTail(disk, last.path, keys)',
      },
      {
        file: segmentStore,
        search: 'return { store: storeOf(header.journalId, lastUuid), nextSeq, active: null }',
        replacement: `if (active) sealed.pop()
    const store = storeOf(header.journalId, lastUuid)
    store.#activeBase = active ? last.baseSeq : null
    return { store, nextSeq, active: active ?? null }`,
      },
    ],
  },
  one('writes the slot of the cursor that is the newest', {
    file: cursorFile,
    search: 'await this.#file.writeDurably(slot, (generation % 2) * slotSpacing)',
    replacement: 'await this.#file.writeDurably(slot, (this.#generation % 2) * slotSpacing)',
  }),
  one('forgets the CRC of the block before', {
    file: segmentReader,
    search: '(previousCrc !== this.#previousCrc || number !== this.#number)',
    replacement: 'number !== this.#number',
  }),
  one('uses a nonce for two blocks', {
    file: segmentCipher,
    search: 'this.#nonce.writeUInt32LE(blockNumber, epochBytes)',
    replacement: 'this.#nonce.writeUInt32LE(blockNumber >> 4, epochBytes)',
  }),
  one('wraps data keys with one nonce', {
    file: segmentCipher,
    search: 'withKey(wrap(key, dataKey, about, random(nonceBytes)))',
    replacement: 'withKey(wrap(key, dataKey, about, Buffer.alloc(nonceBytes)))',
  }),
  one('deletes what somebody holds', {
    file: 'src/journal/journal.ts',
    search: 'Math.min(this.#released, ...this.#holds.values())',
    replacement: 'this.#released',
  }),
  one('reads on in a segment where the next one begins', {
    file: 'src/journal/segment-walk.ts',
    search: "const until = limit.kind === 'next' ? limit.base : limit.seq",
    replacement: "const until = limit.kind === 'next' ? limit.base + 1 : limit.seq",
  }),
  one('does not write the recovered tail again', {
    file: tailRecovery,
    search: 'await file.write(last.bytes, last.offset)',
    replacement: '',
  }),
  one('reads the recovered tail a second time, to write it again', {
    file: tailRecovery,
    search: 'await file.write(last.bytes, last.offset)',
    replacement: 'await file.read(last.bytes, last.offset)\n      await file.write(last.bytes, last.offset)',
  }),
  one('believes in names that were never synced', {
    file: segmentStore,
    search: 'await disk.syncDirectory(directory)\n    const names',
    replacement: 'const names',
  }),
  one('believes in the name of a cursor that was never synced', {
    file: cursorFile,
    search: 'await disk.syncDirectory(dirname(path))\n    const file',
    replacement: 'const file',
  }),
  one('believes in a cursor that was never synced', {
    file: cursorFile,
    search: 'await file.writeDurably(newest.bytes, (newest.generation % 2) * slotSpacing)',
    replacement: '',
  }),
  one('never lets go of a segment whose deletion was reported as failed, and was made', {
    file: segmentStore,
    search: "if (codeOf(error) !== 'ENOENT') throw error\n    return false",
    replacement: 'throw error',
  }),
]

function one(name: string, edit: Mutant['edits'][number]): Mutant {
  return { name, edits: [edit] }
}
