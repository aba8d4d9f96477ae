import { codeOf } from '../base/errors.ts'
import type { Disk } from './disk.ts'

/** The names in a directory; none when it does not exist. */
export async function namesIn(disk: Disk, directory: string): Promise<string[]> {
  try {
    return await disk.list(directory)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return []
    throw error
  }
}

/** Up to so many of a file's first bytes. */
export async function readStart(disk: Disk, path: string, bytesMax: number): Promise<Buffer> {
  const file = await disk.open(path, 'read')
  try {
    const bytes = Buffer.alloc(bytesMax)
    return bytes.subarray(0, await file.read(bytes, 0))
  } finally {
    await file.close()
  }
}
