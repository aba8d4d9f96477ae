import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { SupervisorEvent, SupervisorOptions, SupervisorRequest } from './supervisor.ts'

export interface ProcessSpec {
  readonly command: string
  readonly args: readonly string[]
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>
  readonly directory: string
  readonly logFile: string
}

/** How a process ended, in words: `exit code 1`, `SIGKILL`. */
export interface ProcessEnd {
  readonly code: number | null
  readonly signal: string | null
}

export interface SupervisedProcess {
  readonly pid: number
  readonly ended: Promise<ProcessEnd>
  /** SIGKILL to the whole process group; resolves when the process is gone. */
  kill(): Promise<void>
}

interface Waiting {
  readonly spawned: PromiseWithResolvers<number>
  readonly ended: PromiseWithResolvers<ProcessEnd>
}

/**
 * Server processes in process groups of their own, under a supervisor (supervisor.ts) that ends them and removes their
 * directory when this process ends, in whatever way. It does not keep this process alive.
 */
export class SupervisedProcesses {
  readonly #supervisor: ChildProcess
  readonly #stdin: Writable
  readonly #waiting = new Map<number, Waiting>()
  readonly #gone: Promise<unknown>
  #nextId = 1
  #closed = false

  constructor(options: SupervisorOptions) {
    const program = fileURLToPath(new URL('supervisor.ts', import.meta.url))
    this.#supervisor = spawn(process.execPath, [program, JSON.stringify(options)], {
      // A process group of its own: the Ctrl-C that ends this process must not end the one that cleans up after it.
      detached: true,
      stdio: ['pipe', 'pipe', 'inherit'],
      // A test runner's loader options are not for this program.
      env: { ...process.env, NODE_OPTIONS: '' },
    })
    this.#gone = once(this.#supervisor, 'exit')
    this.#gone.catch(() => undefined)
    const { stdin, stdout } = this.#supervisor
    if (stdin === null || stdout === null) throw new Error('the supervisor has no pipes')
    this.#stdin = stdin
    stdin.on('error', (error) => this.#failAll(error))
    createInterface({ input: stdout }).on('line', (line) => this.#handle(JSON.parse(line) as SupervisorEvent))
    this.#supervisor.once('error', (error) => this.#failAll(error))
    this.#supervisor.once('exit', () => this.#failAll(new Error('the supervisor of the servers has ended')))
    this.#supervisor.unref()
    unref(stdin)
    unref(stdout)
  }

  /** Starts a process; rejects when the command can't be run. */
  async spawn(spec: ProcessSpec): Promise<SupervisedProcess> {
    const id = this.#nextId++
    const waiting: Waiting = { spawned: Promise.withResolvers(), ended: Promise.withResolvers() }
    // Most callers wait for one of the two only.
    waiting.spawned.promise.catch(() => undefined)
    waiting.ended.promise.catch(() => undefined)
    this.#waiting.set(id, waiting)
    const env: Record<string, string> = { ...spec.env }
    for (const [name, value] of Object.entries(process.env)) {
      if (value !== undefined && name !== 'NODE_OPTIONS') env[name] ??= value
    }
    const { command, args, directory, logFile } = spec
    this.#send({ do: 'spawn', id, command, args, env, directory, logFile })
    const pid = await this.#keepAlive(waiting.spawned.promise)
    return {
      pid,
      ended: waiting.ended.promise,
      kill: async () => {
        if (this.#waiting.has(id)) this.#send({ do: 'signal', id, signal: 'SIGKILL' })
        await this.#keepAlive(waiting.ended.promise)
      },
    }
  }

  /** Runs a process to its end. */
  async run(spec: ProcessSpec): Promise<ProcessEnd> {
    const started = await this.spawn(spec)
    return this.#keepAlive(started.ended)
  }

  /** Kills what still runs, and resolves when the supervisor has cleaned up. Idempotent. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true
      this.#supervisor.ref()
      this.#stdin.end()
    }
    await this.#gone
  }

  #send(request: SupervisorRequest): void {
    if (this.#closed) throw new Error('the servers have been stopped for good')
    this.#stdin.write(`${JSON.stringify(request)}\n`)
  }

  #handle(event: SupervisorEvent): void {
    const waiting = this.#waiting.get(event.id)
    if (waiting === undefined) return
    switch (event.event) {
      case 'spawned':
        return waiting.spawned.resolve(event.pid)
      case 'failed':
        this.#waiting.delete(event.id)
        waiting.spawned.reject(new Error(event.message))
        return waiting.ended.reject(new Error(event.message))
      case 'exited':
        this.#waiting.delete(event.id)
        return waiting.ended.resolve({ code: event.code, signal: event.signal })
      default:
        event satisfies never
    }
  }

  #failAll(error: Error): void {
    for (const { spawned, ended } of this.#waiting.values()) {
      spawned.reject(error)
      // Nothing survives the supervisor's orderly end, so at a close this is how the servers ended.
      if (this.#closed) ended.resolve({ code: null, signal: 'SIGKILL' })
      else ended.reject(error)
    }
    this.#waiting.clear()
  }

  /** The pipes are unreferenced, so while somebody waits for an event this process must be kept from ending. */
  async #keepAlive<T>(promise: Promise<T>): Promise<T> {
    const timer = setInterval(() => undefined, 60_000)
    try {
      return await promise
    } finally {
      clearInterval(timer)
    }
  }
}

/** Pipes of child processes are sockets and can be unreferenced, which their type does not say. */
function unref(stream: Readable | Writable): void {
  if ('unref' in stream && typeof stream.unref === 'function') stream.unref()
}
