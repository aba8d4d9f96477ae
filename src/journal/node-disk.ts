import * as fs from 'node:fs'
import { mkdir, open, readdir, rename, stat, statfs, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { OutriggerError, codeOf } from '../base/errors.ts'
import type { Disk, DiskFile } from './disk.ts'

/** The real file system. Files and directories are made for the owner alone. */
export const nodeDisk: Disk = {
  async makeDirectory(path) {
    const firstMade = await mkdir(path, { recursive: true, mode: 0o700 })
    if (firstMade === undefined) return
    for (let made = path; ; made = dirname(made)) {
      await nodeDisk.syncDirectory(dirname(made))
      if (made === firstMade || dirname(made) === made) return
    }
  },
  list: (path) => readdir(path),
  async open(path, mode) {
    const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_DSYNC } = fs.constants
    const flags =
      mode === 'create' ? O_RDWR | O_CREAT | O_EXCL | O_DSYNC : mode === 'write' ? O_RDWR | O_DSYNC : O_RDONLY
    return new NodeFile(await openDescriptor(path, flags), path)
  },
  rename,
  unlink,
  async syncDirectory(path) {
    const directory = await open(path, 'r')
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  },
  async sizeOf(path) {
    try {
      return (await stat(path)).size
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return null
      throw error
    }
  },
  async space(path) {
    const { bavail, blocks, bsize } = await statfs(path)
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize }
  },
}

class ShortWriteError extends OutriggerError {
  override readonly name = 'ShortWriteError'
  override readonly code = 'short_write'
}

function openDescriptor(path: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(path, flags, 0o600, (error, fd) => {
      if (error) reject(error)
      else resolve(fd)
    })
  })
}

/**
 * Plain callbacks rather than `FileHandle`: half the cost a call, and a block is written and synced for every group.
 *
 * Files are written with O_DSYNC (open(2)): each write returns when its data is on stable storage, as if fdatasync had
 * followed, and costs one way to the thread pool and back instead of two.
 */
class NodeFile implements DiskFile {
  readonly #fd: number
  readonly #path: string

  constructor(fd: number, path: string) {
    this.#fd = fd
    this.#path = path
  }

  size(): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.#fd, (error, stats) => {
        if (error) reject(error)
        else resolve(stats.size)
      })
    })
  }

  async read(target: Buffer, position: number): Promise<number> {
    let filled = 0
    while (filled < target.length) {
      const bytes = await this.#readOnce(target, filled, position + filled)
      if (bytes === 0) break
      filled += bytes
    }
    return filled
  }

  write(data: Buffer, position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.write(this.#fd, data, 0, data.length, position, (error, written) => {
        if (error) reject(error)
        else if (written !== data.length)
          reject(new ShortWriteError(`wrote ${written} of ${data.length} bytes to ${this.#path}`))
        else resolve()
      })
    })
  }

  writeDurably(data: Buffer, position: number): Promise<void> {
    return this.write(data, position)
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#fd, (error) => {
        if (error) reject(error)
        else resolve()
      })
    })
  }

  truncate(size: number): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.ftruncate(this.#fd, size, (error) => {
        if (error) reject(error)
        else resolve()
      })
    })
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.close(this.#fd, (error) => {
        if (error) reject(error)
        else resolve()
      })
    })
  }

  #readOnce(target: Buffer, offset: number, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.read(this.#fd, target, offset, target.length - offset, position, (error, bytes) => {
        if (error) reject(error)
        else resolve(bytes)
      })
    })
  }
}
