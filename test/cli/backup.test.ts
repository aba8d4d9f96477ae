import { appendFile, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { BackupError } from '../../src/cli/backup-manifest.ts'
import { backUp, backupText } from '../../src/cli/backup.ts'
import { restore, restoredText } from '../../src/cli/restore.ts'
import { DirectoryLock } from '../../src/journal/directory-lock.ts'
import type { Disk } from '../../src/journal/disk.ts'
import { DirectoryLockedError } from '../../src/journal/journal-errors.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { DataDirectory, filesBelow } from './data-directory.ts'

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)

/** Hears of each file below `directory` before it is opened to be read. */
function diskTelling(directory: string, before: (path: string) => Promise<void>): Disk {
  return {
    ...nodeDisk,
    async open(path, mode) {
      if (mode === 'read' && path.startsWith(directory)) await before(path.slice(directory.length + 1))
      return nodeDisk.open(path, mode)
    },
  }
}

describe('a backup', () => {
  test('holds what the directory holds, and no sockets, locks or spares; and comes back as it was', async () => {
    const data = await DataDirectory.open()
    const lock = DirectoryLock.take(data.path)
    await writeFile(join(data.path, 'publish.sock'), '')
    await data.accept(100)
    await data.deliver(60)
    await data.recordAll()
    await data.letters.append(['a letter'])
    await data.exceptions.append(['a gap'])
    expect((await filesBelow(data.path)).some((name) => name.endsWith('.spare'))).toBe(true)

    const manifest = await backUp(nodeDisk, systemClock, data.source, data.backup)
    expect(manifest).toMatchObject({
      journalId: data.messages.id,
      finishedBelow: 60,
      nextSeq: 101,
      version: '1.2.3',
      isWholeForLedger: true,
    })
    const files = await filesBelow(data.backup)
    expect(files).toEqual(['manifest.json', ...manifest.files.map(({ path }) => path)].toSorted())
    expect(files.filter((name) => /lock|sock|spare|part/.test(name))).toEqual([])
    expect(files).toContain('broker.sqlite')
    expect(backupText(manifest)).toContain('41 messages')
    await data.close()
    lock.release()

    const target = join(data.root, 'restored')
    await restore(nodeDisk, systemClock, data.backup, target)
    const restored = await DataDirectory.openIn(data.root, target)
    expect(restored.messages.id).toBe(data.messages.id)
    expect(restored.messages.nextSeq).toBeGreaterThan(1e11)
    expect(restored.forwarder.position).toEqual(data.forwarder.position)
    expect(restored.recorder.position).toEqual(data.recorder.position)
    expect(await restored.seqsFrom(60)).toEqual(range(60, 101))
    expect(restored.receipts.nextSeq).toBe(3)
    expect([restored.letters.nextSeq, restored.exceptions.nextSeq]).toEqual([2, 2])
    await restored.close()
    using broker = new DatabaseSync(join(target, 'broker.sqlite'), { readOnly: true })
    expect(broker.prepare('SELECT id FROM records').all()).toEqual([{ id: 1 }])
  })

  test('reads what claims something before what it is claimed of', async () => {
    const data = await DataDirectory.open()
    await data.accept(10)
    await data.deliver(5)
    await data.letters.append(['a letter'])
    await data.exceptions.append(['a gap'])
    const order: string[] = []
    const disk = diskTelling(data.path, async (path) => {
      const part = path.split('/').at(path.endsWith('.segment') ? -2 : -1) ?? ''
      if (order.at(-1) !== part) order.push(part)
    })
    const copied = async (from: string): Promise<boolean> => {
      order.push(from.slice(data.path.length + 1))
      return false
    }
    await backUp(disk, systemClock, { ...data.source, copyDatabase: copied }, data.backup)
    expect(order).toEqual([
      'forwarder.cursor',
      'metadata.cursor',
      'receipts',
      'journal',
      'dead-letters',
      'metadata-exceptions',
      'ledger.sqlite',
      'broker.sqlite',
    ])
    await data.close()
  })

  test('holds no receipt of a message that it does not hold, whatever is delivered meanwhile', async () => {
    const data = await DataDirectory.open()
    await data.accept(40)
    await data.deliver(20)
    const disk = diskTelling(data.path, async (path) => {
      if (!path.endsWith('.segment')) return
      await data.accept(3)
      await data.deliver(data.messages.nextSeq)
    })
    const { nextSeq } = await backUp(disk, systemClock, data.source, data.backup)
    await data.close()
    await restore(nodeDisk, systemClock, data.backup, join(data.root, 'restored'))
    const restored = await DataDirectory.openIn(data.root, join(data.root, 'restored'))
    const heads: number[] = []
    const { decodeReceipt } = await import('../../src/message/receipt.ts')
    const reader = restored.receipts.reader(1)
    for (let block = await reader.next(); block; block = await reader.next())
      block.forEach((_, bytes, start, end) => {
        const receipt = decodeReceipt(bytes, start, end)
        if (receipt.kind === 'checkpoint') heads.push(receipt.head)
      })
    await reader.close()
    expect(heads.length).toBeGreaterThan(0)
    expect(Math.max(...heads)).toBeLessThanOrEqual(nextSeq)
    await restored.close()
  })

  test('reaches back to the recorders, although files are released and used again while they are copied', async () => {
    const data = await DataDirectory.open()
    await data.accept(200)
    await data.deliver(40)
    let left = 4
    const disk = diskTelling(data.path, async (path) => {
      if (!path.startsWith('journal/') || left <= 0) return
      left--
      await data.deliver(data.forwarder.position.seq + 30)
      await data.recordAll()
      await data.accept(30)
    })
    const result = await backUp(disk, systemClock, data.source, data.backup)
    expect(left).toBe(0)
    expect(result.isWholeForLedger).toBe(true)
    const { nextSeq } = result
    await data.close()
    await restore(nodeDisk, systemClock, data.backup, join(data.root, 'restored'))
    const restored = await DataDirectory.openIn(data.root, join(data.root, 'restored'))
    const { seq, mark } = restored.recorder.position
    expect(seq).toBe(data.recorder.position.seq)
    expect(restored.messages.firstSeq).toBeLessThanOrEqual(seq)
    expect(restored.receipts.firstSeq).toBeLessThanOrEqual(mark)
    expect(await restored.seqsFrom(seq)).toEqual(range(seq, nextSeq))
    await restored.close()
  })

  test('ends under a sidecar that never rests, and says what the ledger may miss', async () => {
    const data = await DataDirectory.open()
    await data.accept(100)
    await data.deliver(40)
    const disk = diskTelling(data.path, async (path) => {
      if (!path.startsWith('receipts/')) return
      await data.accept(50)
      await data.deliver(data.messages.nextSeq - 4)
      await data.recordAll()
    })
    const result = await backUp(disk, systemClock, data.source, data.backup)
    expect(result.isWholeForLedger).toBe(false)
    expect(backupText(result)).toContain('ledger backfill')
    await data.close()
    await restore(nodeDisk, systemClock, data.backup, join(data.root, 'restored'))
    const restored = await DataDirectory.openIn(data.root, join(data.root, 'restored'))
    const { firstSeq } = restored.messages
    const { nextSeq } = result
    expect(await restored.seqsFrom(1)).toEqual(range(firstSeq, nextSeq))
    await restored.close()
  })

  test('of a directory without journal, or into a folder that is not empty, is refused', async () => {
    const data = await DataDirectory.open()
    await mkdir(data.backup)
    await writeFile(join(data.backup, 'mine'), '')
    await expect(backUp(nodeDisk, systemClock, data.source, data.backup)).rejects.toThrow(/is not empty/)
    const elsewhere = { ...data.source, directory: join(data.root, 'nowhere') }
    await expect(backUp(nodeDisk, systemClock, elsewhere, join(data.root, 'b'))).rejects.toThrow(/no journal/)
    const within = join(data.source.directory, 'backups', 'first')
    await expect(backUp(nodeDisk, systemClock, data.source, within)).rejects.toThrow(/lies in what is to be backed up/)
    await data.close()
  })

  test('that was cut short is no backup', async () => {
    const data = await DataDirectory.open()
    await data.accept(1)
    const full = { ...data.source, copyDatabase: () => Promise.reject(new Error('ENOSPC')) }
    await expect(backUp(nodeDisk, systemClock, full, data.backup)).rejects.toThrow('ENOSPC')
    await expect(restore(nodeDisk, systemClock, data.backup, join(data.root, 'r'))).rejects.toThrow(/no manifest/)
    await data.close()
  })
})

describe('a restore', () => {
  const prepared = async (): Promise<{ data: DataDirectory; target: string }> => {
    const data = await DataDirectory.open()
    await data.accept(40)
    await data.deliver(10)
    await backUp(nodeDisk, systemClock, data.source, data.backup)
    await data.close()
    return { data, target: join(data.root, 'restored') }
  }

  test('gives no id again that was given after the backup', async () => {
    const { data, target } = await prepared()
    await restore(nodeDisk, systemClock, data.backup, target)
    const restored = await DataDirectory.openIn(data.root, target)
    const next = restored.messages.nextSeq
    expect(next).toBeGreaterThan(1e11)
    await restored.accept(3)
    expect(await restored.seqsFrom(39)).toEqual([39, 40, next, next + 1, next + 2])
    await restored.messages.release(next)
    expect(restored.messages.firstSeq).toBe(next)
    await restored.close()
  })

  test('tells what will happen', async () => {
    const { data, target } = await prepared()
    const text = restoredText(await restore(nodeDisk, systemClock, data.backup, target))
    expect(text).toContain(`Up to 31 messages (${data.messages.id}-10 to ${data.messages.id}-40) wait for delivery`)
    expect(text).toMatch(/delivered again.*duplicates/)
  })

  test.each(['receipts/0000000000000001.segment', 'broker.sqlite', 'forwarder.cursor'])(
    'refuses a backup in which %s is not what was written, and touches nothing',
    async (path) => {
      const { data, target } = await prepared()
      const file = join(data.backup, path)
      const bytes = await readFile(file)
      bytes[20] = (bytes[20] ?? 0) ^ 1
      await writeFile(file, bytes)
      await expect(restore(nodeDisk, systemClock, data.backup, target)).rejects.toThrow(BackupError)
      await appendFile(file, 'x')
      await expect(restore(nodeDisk, systemClock, data.backup, target)).rejects.toThrow(/damaged/)
      await rm(file)
      await expect(restore(nodeDisk, systemClock, data.backup, target)).rejects.toThrow(/missing/)
      await expect(stat(target)).rejects.toThrow('ENOENT')
    },
  )

  test('refuses a manifest that leads out of the directory, or is of a later version', async () => {
    const { data, target } = await prepared()
    const path = join(data.backup, 'manifest.json')
    const manifest = JSON.parse(await readFile(path, 'utf8')) as { files: { path: string }[] }
    for (const bad of ['../x', 'journal/../../x', '/etc/x', 'other/x']) {
      await writeFile(path, JSON.stringify({ ...manifest, files: [{ path: bad, bytes: 0, crc32: '00000000' }] }))
      await expect(restore(nodeDisk, systemClock, data.backup, target)).rejects.toThrow(BackupError)
    }
    await writeFile(path, JSON.stringify({ ...manifest, formatVersion: 2 }))
    await expect(restore(nodeDisk, systemClock, data.backup, target)).rejects.toThrow(/format version 2/)
  })

  test('refuses a directory that holds something of ours, and one that Outrigger runs on', async () => {
    const { data, target } = await prepared()
    await expect(restore(nodeDisk, systemClock, data.backup, data.path)).rejects.toThrow(
      /it holds broker.sqlite.*journal/,
    )
    await mkdir(target)
    await writeFile(join(target, 'notes.txt'), 'not ours')
    const lock = DirectoryLock.take(target)
    await expect(restore(nodeDisk, systemClock, data.backup, target)).rejects.toThrow(DirectoryLockedError)
    lock.release()
    await restore(nodeDisk, systemClock, data.backup, target)
    expect(await readFile(join(target, 'notes.txt'), 'utf8')).toBe('not ours')
  })

  test('that was cut short can be made again, and leaves nothing of the first', async () => {
    const { data, target } = await prepared()
    let writes = 0
    const failing: Disk = {
      ...nodeDisk,
      open(path, mode) {
        if (mode === 'create' && ++writes === 3) return Promise.reject(new Error('ENOSPC'))
        return nodeDisk.open(path, mode)
      },
    }
    await expect(restore(failing, systemClock, data.backup, target)).rejects.toThrow('ENOSPC')
    await restore(nodeDisk, systemClock, data.backup, target)
    expect(await filesBelow(target)).not.toContainEqual(expect.stringContaining('restoring'))
    const restored = await DataDirectory.openIn(data.root, target)
    expect(await restored.seqsFrom(10)).toEqual(range(10, 41))
    await restored.close()
  })
})
