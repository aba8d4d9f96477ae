import { open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf, messageOf } from '../../src/base/errors.ts'
import { lastLines } from './command.ts'
import { exists } from './download-cache.ts'
import { ServerFailedError } from './errors.ts'
import { answers, waitUntilRefused } from './ports.ts'
import type { ProcessSpec, SupervisedProcess, SupervisedProcesses } from './supervised-processes.ts'

/** Long, because a first start beside a busy neighbour was seen to take 40 s. */
const READY_WITHIN_MS = 120_000
const LOOK_EVERY_MS = 50

/** What runs one server: a process of this machine, or a service of Docker Compose. */
export interface ServerRunner {
  /** Sets it going. `ended` resolves, with the way in which it ended, when it ends by itself. */
  start(): Promise<{ readonly ended: Promise<string> }>
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
  log(): Promise<string>
}

/** One server that can be killed and started again on the same port and data. */
export class ServerNode {
  readonly name: string
  readonly port: number
  readonly #runner: ServerRunner
  readonly #answer: () => Promise<void>
  #running = false

  /** `answer` asks the server something real and rejects when it doesn't answer that. */
  constructor(name: string, port: number, runner: ServerRunner, answer: () => Promise<void>) {
    this.name = name
    this.port = port
    this.#runner = runner
    this.#answer = answer
  }

  get running(): boolean {
    return this.#running
  }

  /** Resolves when the server gives real answers. Does nothing when it runs. */
  async start(): Promise<void> {
    if (this.#running) return
    // Whoever is on the port now would be taken for our server.
    await waitUntilRefused(this.port)
    const { ended } = await this.#runner.start()
    this.#running = true
    let end: string | null = null
    void ended.then((how) => {
      end = how
      this.#running = false
    })
    const deadline = Date.now() + READY_WITHIN_MS
    let missing = `port ${this.port} refuses connections`
    for (;;) {
      if (end !== null) throw await this.#failure(`ended while it started: ${end}`)
      if (Date.now() > deadline) {
        await this.kill()
        throw await this.#failure(`was not ready after ${READY_WITHIN_MS / 1000} s: ${missing}`)
      }
      if (await answers(this.port)) {
        try {
          return await this.#answer()
        } catch (error) {
          missing = messageOf(error)
        }
      }
      await sleep(LOOK_EVERY_MS)
    }
  }

  /** SIGKILL; resolves when its port refuses connections. Does nothing when it is dead already. */
  async kill(): Promise<void> {
    await this.#runner.kill()
    this.#running = false
    await waitUntilRefused(this.port)
  }

  async #failure(what: string): Promise<ServerFailedError> {
    return new ServerFailedError(`${this.name} ${what}\n${lastLines(await this.#runner.log())}`)
  }
}

/** A server as a process of this machine. */
export class ProcessRunner implements ServerRunner {
  readonly #processes: SupervisedProcesses
  readonly #spec: ProcessSpec
  #process: SupervisedProcess | null = null

  constructor(processes: SupervisedProcesses, spec: ProcessSpec) {
    this.#processes = processes
    this.#spec = spec
  }

  async start(): Promise<{ ended: Promise<string> }> {
    const started = await this.#processes.spawn(this.#spec)
    this.#process = started
    const ended = started.ended.then(
      ({ code, signal }) => signal ?? `exit code ${code}`,
      (error: unknown) => messageOf(error),
    )
    return { ended }
  }

  async kill(): Promise<void> {
    await this.#process?.kill()
    this.#process = null
  }

  log(): Promise<string> {
    return logEnd(this.#spec.logFile)
  }
}

/**
 * Runs a program that prepares a server's data (formats, initialises), once for each home: data that a broken-off
 * preparation left is removed, finished data is kept.
 */
export async function prepareData(
  name: string,
  dataDirectory: string,
  processes: SupervisedProcesses,
  spec: ProcessSpec,
): Promise<void> {
  const done = join(spec.directory, 'prepared')
  if (await exists(done)) return
  await rm(dataDirectory, { recursive: true, force: true })
  const { code, signal } = await processes.run(spec)
  if (code !== 0) {
    const log = lastLines(await logEnd(spec.logFile))
    throw new ServerFailedError(`${name} ended with ${signal ?? `exit code ${code}`}\n${log}`)
  }
  await writeFile(done, '')
}

/** The end of a log, which may be large. */
async function logEnd(file: string): Promise<string> {
  try {
    await using handle = await open(file)
    const { size } = await handle.stat()
    const length = Math.min(size, 64 * 1024)
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length)
    return buffer.toString('utf8', 0, bytesRead)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return ''
    throw error
  }
}
