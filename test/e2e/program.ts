import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf } from '../../src/base/errors.ts'
import { run } from '../stack/command.ts'
import { reservePorts, type ReservedPorts } from '../stack/ports.ts'
import { SupervisedProcesses, type ProcessEnd, type SupervisedProcess } from '../stack/supervised-processes.ts'

const root = join(import.meta.dirname, '..', '..')

/** What is started: the file that `npm run build` makes, or the sources as they are. */
export type Edition = 'built' | 'source'

/**
 * The command of an edition, without a sub-command. OUTRIGGER_TEST_PROGRAM names another built file than dist/outrigger.js.
 */
export function programCommand(
  edition: Edition,
  nodeOptions: readonly string[] = [],
): readonly [command: string, ...args: string[]] {
  const built = process.env['OUTRIGGER_TEST_PROGRAM'] ?? join(root, 'dist', 'outrigger.js')
  const file = edition === 'built' ? built : join(root, 'src', 'main.ts')
  if (!existsSync(file)) throw new Error(`there is no ${file}; “npm run build” makes it`)
  return [process.execPath, '--disable-warning=TimeoutNegativeWarning', ...nodeOptions, file]
}

/** `settings` and nothing else of Outrigger's: what this process has in its own environment is blanked out. */
export function programEnvironment(settings: Readonly<Record<string, string>>): Record<string, string> {
  const own = Object.keys(process.env).filter((name) => name.startsWith('OUTRIGGER_'))
  return { ...Object.fromEntries(own.map((name) => [name, ''])), ...settings }
}

export interface ProgramOptions {
  /** Default: built. */
  readonly edition?: Edition
  /** Environment variables; they win over those of this class. */
  readonly settings?: Readonly<Record<string, string>>
  /** For Node itself. */
  readonly nodeOptions?: readonly string[]
  /** Begins the name of the temporary folder. Default: outrigger-e2e. */
  readonly name?: string
  /** Its data directory is a file system of its own, in memory, of this size. Only root can have that. */
  readonly fileSystemBytes?: number
}

/** Where a publisher finds the program. */
export type PublishTarget = { readonly host: string; readonly port: number } | { readonly socketPath: string }

/** As much of `GET /status` as is used here. */
export interface ProgramStatus {
  readonly state: string
  readonly journal: {
    readonly id: string
    readonly firstSeq: number
    readonly nextSeq: number
    readonly bytes: number
    readonly heldForLedgerBytes: number
  }
  readonly delivery: {
    readonly breaker: string
    readonly backlogMessages: number
    readonly deadLetters: number
    readonly lanes: readonly {
      readonly topic: string
      readonly failure: { readonly reason: string; readonly message: string } | null
    }[]
  }
  /** null without a ledger. */
  readonly ledger: { readonly recorders: readonly RecorderStatus[] } | null
}

/** How the recorder of one store stands. */
export interface RecorderStatus {
  readonly store: 'metadata' | 'log'
  readonly lagMessages: number
  /** Of the oldest message that is known and not recorded yet; milliseconds since the epoch. */
  readonly oldestFinishedAt: number | null
  /** How many gaps and refused messages are noted. */
  readonly exceptions: number
  readonly failure: { readonly reason: string; readonly message: string } | null
}

/**
 * Outrigger as a process of its own, with its data in a temporary folder and on ports that stay the same when it is
 * started again. It ends, and the folder goes, with `dispose` or with this process, however that ends.
 */
export class Program implements AsyncDisposable {
  readonly directory: string
  readonly tcp: PublishTarget
  readonly unix: { readonly socketPath: string }
  readonly adminPort: number
  readonly #command: readonly [command: string, ...args: string[]]
  readonly #environment: Record<string, string>
  readonly #processes: SupervisedProcesses
  readonly #ports: ReservedPorts
  #starts = 0
  #process: SupervisedProcess | null = null
  #end: ProcessEnd | null = null

  private constructor(directory: string, ports: ReservedPorts, options: ProgramOptions) {
    const [publishPort = 0, adminPort = 0] = ports.ports
    this.directory = directory
    this.tcp = { host: '127.0.0.1', port: publishPort }
    this.unix = { socketPath: join(directory, 'publish.sock') }
    this.adminPort = adminPort
    this.#command = programCommand(options.edition ?? 'built', options.nodeOptions)
    this.#environment = programEnvironment({
      OUTRIGGER_PUBLISH_LISTEN: `127.0.0.1:${publishPort},unix:${this.unix.socketPath}`,
      OUTRIGGER_ADMIN_LISTEN: `127.0.0.1:${adminPort}`,
      OUTRIGGER_JOURNAL_DIRECTORY: this.dataDirectory,
      ...options.settings,
    })
    this.#ports = ports
    const atEnd = options.fileSystemBytes === undefined ? [] : [['umount', '--lazy', this.dataDirectory]]
    this.#processes = new SupervisedProcesses({ removeDirectory: directory, atEnd })
  }

  /** Prepares everything; starts nothing. */
  static async prepare(options: ProgramOptions = {}): Promise<Program> {
    const ports = await reservePorts(2)
    try {
      const directory = await mkdtemp(join(tmpdir(), `${options.name ?? 'outrigger-e2e'}-`))
      await mkdir(join(directory, 'logs'))
      const program = new Program(directory, ports, options)
      if (options.fileSystemBytes !== undefined) await program.#mount(options.fileSystemBytes)
      return program
    } catch (error) {
      await ports.release()
      throw error
    }
  }

  static async start(options: ProgramOptions = {}): Promise<Program> {
    const program = await Program.prepare(options)
    try {
      await program.start()
      return program
    } catch (error) {
      await program.dispose()
      throw error
    }
  }

  get dataDirectory(): string {
    return join(this.directory, 'data')
  }

  /** The embedded broker's file. */
  get brokerFile(): string {
    return join(this.dataDirectory, 'broker.sqlite')
  }

  /** The embedded ledger's file. */
  get ledgerFile(): string {
    return join(this.dataDirectory, 'ledger.sqlite')
  }

  get pid(): number {
    if (this.#process === null) throw new Error('the program does not run')
    return this.#process.pid
  }

  get isRunning(): boolean {
    return this.#process !== null && this.#end === null
  }

  /** What its environment is, for other commands on the same configuration. */
  get environment(): Readonly<Record<string, string>> {
    return this.#environment
  }

  /**
   * Resolves when it is ready, with how long that took. `settings` win over those of the program, from now on. `under`: a
   * command that runs the one behind it, as this very process, such as `strace -D …`.
   */
  async start(
    settings: Readonly<Record<string, string>> = {},
    under: readonly string[] = [],
  ): Promise<{ readonly readyMs: number }> {
    if (this.isRunning) throw new Error('the program runs already')
    Object.assign(this.#environment, settings)
    const [command = '', ...args] = [...under, ...this.#command]
    this.#starts++
    const begun = performance.now()
    const started = await this.#processes.spawn({
      command,
      args: [...args, 'run'],
      env: this.#environment,
      directory: this.directory,
      logFile: this.#logFile(this.#starts),
    })
    this.#process = started
    this.#end = null
    void started.ended.then(
      (end) => {
        if (this.#process === started) this.#end = end
      },
      // The supervisor is gone, and with it the program.
      () => {
        if (this.#process === started) this.#end = { code: null, signal: 'SIGKILL' }
      },
    )
    await this.#waitUntilReady()
    return { readyMs: performance.now() - begun }
  }

  /** Makes the file system of its data directory larger or smaller. */
  async resizeFileSystem(bytes: number): Promise<void> {
    await run('mount', ['-o', `remount,size=${bytes}`, this.dataDirectory])
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    await this.#process?.kill()
    this.#process = null
  }

  signal(name: NodeJS.Signals): void {
    process.kill(this.pid, name)
  }

  /** How it ended, once it has. */
  async ended(): Promise<ProcessEnd> {
    if (this.#process === null) throw new Error('the program does not run')
    const timer = setInterval(() => {}, 60_000) // its supervisor does not keep this process alive
    try {
      return await this.#process.ended
    } finally {
      clearInterval(timer)
    }
  }

  /** SIGTERM; resolves with how it ended. */
  async stop(): Promise<ProcessEnd> {
    this.signal('SIGTERM')
    const end = await this.ended()
    this.#process = null
    return end
  }

  async status(): Promise<ProgramStatus> {
    return JSON.parse(await this.ask('/status')) as ProgramStatus
  }

  /** The value of a sample of `GET /metrics`, such as `outrigger_backlog_messages`. */
  async metric(name: string): Promise<number> {
    const text = await this.ask('/metrics')
    const line = text.split('\n').find((each) => each.startsWith(`${name} `))
    if (line === undefined) throw new Error(`there is no metric ${name}`)
    return Number(line.slice(name.length))
  }

  /** The body that the operator's listener gives. */
  ask(path: string): Promise<string> {
    return get({ host: '127.0.0.1', port: this.adminPort }, path)
  }

  /** Resolves when everything that was accepted is delivered, or all but `backlogMax`: under load some is always on its way. */
  async drained(backlogMax = 0): Promise<void> {
    await this.#until(({ delivery }) => {
      if (delivery.backlogMessages <= backlogMax) return null
      const failing = delivery.lanes.filter((lane) => lane.failure !== null)
      return `${delivery.backlogMessages} messages are not delivered; failing: ${JSON.stringify(failing)}`
    })
  }

  /**
   * Resolves when the ledger has everything that was delivered, or all but `lagMax`: under load some is always on its way.
   * Without a load, wait until it is `drained` first. A last receipt may still be on its way to the recorders; only
   * `stop` waits for that.
   */
  async recorded(lagMax = 0): Promise<void> {
    await this.#until(({ ledger }) => {
      const behind = (ledger?.recorders ?? []).filter(
        ({ lagMessages, oldestFinishedAt }) => lagMessages > lagMax || (lagMax === 0 && oldestFinishedAt !== null),
      )
      return behind.length === 0 ? null : `the ledger is behind: ${JSON.stringify(behind)}`
    })
  }

  /** All that it has printed since `prepare`, over all its starts. */
  async log(): Promise<string> {
    const texts = await Promise.all(Array.from({ length: this.#starts }, (_, index) => this.#logText(index + 1)))
    return texts.join('')
  }

  /** A file in its folder, for configuration and secrets. */
  async file(name: string, text: string): Promise<string> {
    const path = join(this.directory, name)
    await writeFile(path, text)
    return path
  }

  /** Ends it at once, and removes its folder. Idempotent. */
  async dispose(): Promise<void> {
    await this.#processes.close()
    await this.#ports.release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  async #mount(bytes: number): Promise<void> {
    try {
      await mkdir(this.dataDirectory)
      await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'outrigger-e2e', this.dataDirectory])
    } catch (error) {
      await this.dispose()
      throw error
    }
  }

  /** `missing` says what is still to come; null when nothing is. */
  async #until(missing: (status: ProgramStatus) => string | null): Promise<void> {
    const timeoutMs = 120_000
    const deadline = performance.now() + timeoutMs
    for (;;) {
      const still = missing(await this.status())
      if (still === null) return
      if (performance.now() > deadline)
        throw new Error(`after ${timeoutMs} ms ${still}\n${(await this.log()).slice(-20_000)}`)
      await sleep(100)
    }
  }

  async #waitUntilReady(): Promise<void> {
    const deadline = performance.now() + 60_000
    for (;;) {
      const text = await this.#logText(this.#starts)
      if (text.includes('"message":"ready"')) return
      if (this.#end !== null)
        throw new Error(`the program ended with ${this.#end.signal ?? `exit code ${this.#end.code}`}\n${text}`)
      if (performance.now() > deadline) throw new Error(`the program was not ready after 60 s\n${text}`)
      await sleep(10)
    }
  }

  #logFile(start: number): string {
    return join(this.directory, 'logs', String(start))
  }

  async #logText(start: number): Promise<string> {
    try {
      return await readFile(this.#logFile(start), 'utf8')
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return ''
      throw error
    }
  }
}

/** `GET`; resolves with the body of a 200, and rejects with that of any other. */
export function get(target: PublishTarget, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asking = request({ ...target, path, agent: false, timeout: 10_000 }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        body += chunk
      })
      response.on('error', reject)
      response.on('end', () => {
        if (response.statusCode === 200) resolve(body)
        else reject(new Error(`GET ${path} was answered with ${response.statusCode}: ${body}`))
      })
    })
    asking.on('timeout', () => asking.destroy(new Error(`GET ${path} was not answered within 10 s`)))
    asking.on('error', reject)
    asking.end()
  })
}
