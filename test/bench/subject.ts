import { readFile, writeFile } from 'node:fs/promises'
import { request, Agent } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { lastLines } from '../stack/command.ts'
import type { SupervisedProcess } from '../stack/supervised-processes.ts'
import type { Target } from './load.ts'
import { until, type Workbench } from './workbench.ts'

const program = fileURLToPath(new URL('../../dist/outrigger.js', import.meta.url))

export interface SubjectOptions {
  readonly broker: 'kafka' | 'embedded'
  /** For `kafka`; an address where nobody answers is Kafka away. */
  readonly brokers?: readonly string[]
  readonly nodeOptions?: readonly string[]
  /** More of the configuration. */
  readonly settings?: object
}

/** What of `/status` is looked at. */
export interface SubjectStatus {
  readonly nextSeq: number
  readonly backlogMessages: number
  readonly journalBytes: number
  /** Empty without a ledger. */
  readonly recorders: readonly { readonly store: string; readonly lagMessages: number }[]
}

/** The built program, as a process of its own that can be killed and started again on its data. */
export class Subject implements Target {
  readonly port: number
  readonly socketPath: string
  readonly #bench: Workbench
  readonly #adminPort: number
  readonly #configFile: string
  readonly #config: object
  readonly #nodeOptions: readonly string[]
  readonly #agent = new Agent({ keepAlive: true })
  #process: SupervisedProcess | null = null
  #logFile = ''

  constructor(bench: Workbench, options: SubjectOptions) {
    const { broker, brokers = [], nodeOptions = [], settings = {} } = options
    const directory = bench.path('data')
    this.#bench = bench
    this.port = bench.port()
    this.#adminPort = bench.port()
    // Not in the data's folder: a path too long for a Unix socket is a nuisance.
    this.socketPath = bench.path('s')
    this.#configFile = bench.path('config.json')
    this.#nodeOptions = nodeOptions
    this.#config = {
      publish: { listen: [`127.0.0.1:${this.port}`, `unix:${this.socketPath}`] },
      admin: { listen: `127.0.0.1:${this.#adminPort}` },
      journal: { directory: join(directory) },
      broker,
      ...(broker === 'kafka' ? { kafka: { brokers } } : { ledger: { metadata: 'none', log: 'none' } }),
      ...settings,
    }
  }

  get pid(): number {
    if (this.#process === null) throw new Error('Outrigger does not run')
    return this.#process.pid
  }

  /** Starts it and resolves when it is ready, with the milliseconds that took. */
  async start(): Promise<number> {
    // JSON is YAML.
    await writeFile(this.#configFile, JSON.stringify(this.#config))
    const args = ['--disable-warning=TimeoutNegativeWarning', ...this.#nodeOptions, program, 'run']
    const begunAt = performance.now()
    const started = await this.#bench.start('outrigger', process.execPath, [...args, '--config', this.#configFile])
    this.#process = started.process
    this.#logFile = started.logFile
    let ended = false
    void started.process.ended.then(() => {
      ended = true
    })
    const isReady = async (): Promise<boolean> => {
      if (ended) throw new Error(`Outrigger ended while it started: ${await this.log()}`)
      return (await this.#ask('/readyz'))?.status === 200
    }
    await until('Outrigger to be ready', 60_000, isReady, 2)
    return performance.now() - begunAt
  }

  async status(): Promise<SubjectStatus> {
    const answer = await this.#ask('/status')
    if (answer?.status !== 200) throw new Error(`Outrigger does not tell its status: ${await this.log()}`)
    const { journal, delivery, ledger } = JSON.parse(answer.body) as {
      readonly ledger: { readonly recorders: SubjectStatus['recorders'] } | null
      readonly journal: { readonly nextSeq: number; readonly bytes: number }
      readonly delivery: { readonly backlogMessages: number }
    }
    const { nextSeq, bytes: journalBytes } = journal
    return { nextSeq, backlogMessages: delivery.backlogMessages, journalBytes, recorders: ledger?.recorders ?? [] }
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    await this.#process?.kill()
    this.#process = null
  }

  /** SIGTERM; resolves when it has delivered what it could and ended. */
  async stop(): Promise<void> {
    const stopping = this.#process
    if (stopping === null) return
    process.kill(stopping.pid, 'SIGTERM')
    await stopping.ended
    this.#process = null
  }

  /** The end of what it logged. */
  async log(): Promise<string> {
    return lastLines(await readFile(this.#logFile, 'utf8'))
  }

  /** Null when there is no answer. */
  #ask(path: string): Promise<{ status: number; body: string } | null> {
    return new Promise((resolve) => {
      const asked = request({ port: this.#adminPort, host: '127.0.0.1', path, agent: this.#agent, timeout: 10_000 })
      asked.once('timeout', () => asked.destroy())
      asked.once('error', () => resolve(null))
      asked.once('response', (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.once('error', () => resolve(null))
        response.once('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
        )
      })
      asked.end()
    })
  }
}
