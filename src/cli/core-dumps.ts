import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import type { Config } from '../config/schema.ts'

function isEncrypted({ encryption: { keys, keysFile } }: Config): boolean {
  return keys !== undefined || keysFile !== undefined
}

/**
 * With encryption, no crash may bring to disk what must not be there: neither messages nor keys. With this filter a core dump
 * holds no memory (core(5)), of this process and of those that it starts; but registers, which are wide enough for a piece.
 */
export function keepOutOfCoreDumps(config: Config): void {
  if (process.platform !== 'linux' || !isEncrypted(config)) return
  try {
    writeFileSync('/proc/self/coredump_filter', '0')
  } catch {
    // Where there is none, `refuseCoreDumps` tells whether that matters.
  }
}

/** Whether nothing that is encrypted on disk can get there by a core dump of this process. Turns them off where that can be done. */
export function areCoreDumpsSafe(config: Config): boolean {
  return !isEncrypted(config) || refuseCoreDumps()
}

/**
 * Sees to it that there are no core dumps of this process. With a limit of 1 byte the kernel makes none, neither a file nor for
 * a program that collects them (core(5)). Node can't set limits; util-linux can. Returns whether they are turned off.
 */
function refuseCoreDumps(): boolean {
  if (process.platform !== 'linux') return false
  const options = { stdio: 'ignore', timeout: 5000 } as const
  if (spawnSync('prlimit', ['--pid', String(process.pid), '--core=1:1'], options).status === 0) return true
  // With 0 there are no files; and programs that collect them are told of the limit.
  return /^Max core file size +[01] /m.test(readFileSync('/proc/self/limits', 'utf8'))
}
