import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestContext } from 'vitest'
import { codeOf } from '../../src/base/errors.ts'
import { findCommand, run } from '../stack/command.ts'
import { installDebianPackages } from '../stack/debian-packages.ts'
import { StackUnavailableError } from '../stack/errors.ts'
import { runsInCi } from '../stack/shared-kafka.ts'

/** Which system calls of a process go wrong, and how. */
export interface Fault {
  /** As strace names them: `pwrite64`, `fdatasync,fsync`. */
  readonly calls: string
  /** What the call comes back with, without having done anything; `kill`: the process ends by SIGKILL before the call is done. */
  readonly fault: 'kill' | 'EIO' | 'ENOSPC'
  /** Only calls on these files. Default: on all. */
  readonly paths?: readonly string[]
  /** Of each thread's calls, the one that goes wrong. Default: all of them. */
  readonly when?: number
}

/**
 * strace(1), and the right to use it on another process and to mount a file system. Where they can't be had the test is
 * skipped with the reason; in CI it fails.
 */
export async function requireFaults(context: Pick<TestContext, 'skip'>): Promise<void> {
  try {
    if (process.platform !== 'linux' || process.getuid?.() !== 0)
      throw new StackUnavailableError('faults of a disk are made with strace and mount', { hint: 'Be root, on Linux.' })
    if ((await findCommand('strace')) === null) await installDebianPackages('strace', ['strace'])
  } catch (error) {
    if (!(error instanceof StackUnavailableError) || runsInCi()) throw error
    context.skip(`${error.message}. ${error.hint}`)
  }
}

/**
 * Makes system calls of a running process fail, with no hook in it: strace's fault injection. It ends with `end`, or with
 * the process.
 */
export class FaultInjection implements AsyncDisposable {
  readonly #strace: ChildProcess
  readonly #logFile: string
  readonly #ended: Promise<unknown>

  private constructor(strace: ChildProcess, logFile: string) {
    this.#strace = strace
    this.#logFile = logFile
    this.#ended = once(strace, 'exit')
    this.#ended.catch(() => {}) // thrown where it is waited for
  }

  /** Resolves when it is in force. `logFile` takes the calls that were looked at. */
  static async begin(pid: number, fault: Fault, logFile: string): Promise<FaultInjection> {
    const strace = spawn('strace', [...straceArguments(fault, logFile), '-p', String(pid)], { stdio: 'ignore' })
    const injection = new FaultInjection(strace, logFile)
    await Promise.race([injection.#ended, untilTraced(pid, strace.pid ?? 0)])
    if (strace.exitCode !== null) throw new Error(`strace of ${pid} ended with ${strace.exitCode}`)
    return injection
  }

  /** Everything works again when it resolves; with the calls on the given files so far, one a line. Idempotent. */
  async end(): Promise<string> {
    this.#strace.kill('SIGTERM')
    if (this.#strace.exitCode === null && this.#strace.signalCode === null) await this.#ended
    return this.calls()
  }

  async calls(): Promise<string> {
    try {
      return await readFile(this.#logFile, 'utf8')
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return ''
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end()
  }
}

/** `-f`: all threads; `-y`: files by name. */
export function straceArguments({ calls, fault, paths = [], when }: Fault, logFile: string): string[] {
  const how = fault === 'kill' ? 'signal=KILL' : `error=${fault}`
  const inject = `inject=${calls}:${how}${when === undefined ? '' : `:when=${when}`}`
  const only = paths.flatMap((path) => ['-P', path])
  return ['-f', '-y', '-qq', '-s', '0', '-o', logFile, ...only, '-e', `trace=${calls}`, '-e', inject]
}

/** Limits how large any file may get that a running process writes (setrlimit(2), RLIMIT_FSIZE); null: as large as it likes. */
export async function limitFileSize(pid: number, bytes: number | null): Promise<void> {
  await run('prlimit', ['--pid', String(pid), `--fsize=${bytes ?? 'unlimited'}:unlimited`])
}

/** A thread that is made later is traced from its beginning. */
async function untilTraced(pid: number, tracer: number): Promise<void> {
  for (;;) {
    const threads = await readdir(`/proc/${pid}/task`)
    const statuses = await Promise.all(threads.map((thread) => readFile(join('/proc', thread, 'status'), 'utf8')))
    if (statuses.every((status) => status.includes(`TracerPid:\t${tracer}\n`))) return
    await sleep(5)
  }
}
