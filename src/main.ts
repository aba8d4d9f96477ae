import { open, readFile } from 'node:fs/promises'
import { isMainThread, workerData } from 'node:worker_threads'
import packageJson from '../package.json' with { type: 'json' }
import { messageOf } from './base/errors.ts'
import type { Commands, LedgerArguments } from './cli/command-line.ts'
import { areCoreDumpsSafe, keepOutOfCoreDumps } from './cli/core-dumps.ts'
import type { JournalTools } from './cli/journal-folder.ts'
import type { LoadedForRun } from './config-process.ts'
import { loadConfigArgument } from './config-process.ts'
import type { LoadedConfig } from './config/load-config.ts'
import type { Config } from './config/schema.ts'
import type { DeliveryWorkerData } from './delivery-thread.ts'
import type { ComparedBroker, ComparedLedger, ComparedRange } from './recorder/reconcile.ts'
import type { RecordingWorkerData } from './recording-thread.ts'

/**
 * The program, and the only file that touches the process. It is started
 * - by people, and runs the command line;
 * - by `run`, in a process that ends right after, to read the command line and the configuration;
 * - by `run`, in a thread, for the delivering half.
 *
 * Each loads only what it needs: that is memory that every pod pays for.
 */

/** sysexits.h: the configuration is wrong. */
const exitUsage = 64
const exitFailure = 1
/** As shells have it for SIGINT. */
const exitInterrupted = 130
const entry = new URL(import.meta.url)
const stopSignals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
/** How long the end waits for a reader to take the last lines of the log. */
const lastLinesMs = 200

// Node would open its debugger to every process of this user.
if (isMainThread) process.on('SIGUSR1', () => {})

/** `outrigger run`, once its configuration is loaded. Ends the process. */
async function runSidecar({ config, described, warnings }: LoadedForRun): Promise<never> {
  const [{ Sidecar }, { nodeDisk }, { systemClock }, { openLog }, { formatListenAddress }] = await Promise.all([
    import('./sidecar.ts'),
    import('./journal/node-disk.ts'),
    import('./base/clock.ts'),
    import('./base/log.ts'),
    import('./config/listen-address.ts'),
  ])
  const { version } = packageJson
  const { log, output } = openLog(config.log.level, { pid: process.pid }, 1)
  const end = async (exitCode: number): Promise<never> => {
    await output.flush(lastLinesMs)
    exitNow(exitCode, output.isHeldUp)
  }
  for (const warning of warnings) log.warn({}, warning)
  keepOutOfCoreDumps(config)
  if (!areCoreDumpsSafe(config))
    log.warn(
      {},
      'core dumps are not turned off, and can not be from here: one could hold pieces of what is encrypted on disk; start Outrigger with “ulimit -c 0”',
    )
  // Its state is on disk: an unexpected exception ends the process, and the next start goes on from there.
  process.on('uncaughtException', (error) => {
    log.error({ error }, 'an unexpected error; Outrigger ends')
    void end(exitFailure)
  })

  const sidecar = new Sidecar(config, nodeDisk, systemClock, log, { entry, version, described, output })
  const stopped = new Promise<number>((resolve) => {
    const stop = (signal: NodeJS.Signals): void => {
      for (const name of stopSignals) {
        process.removeListener(name, stop)
        // A terminal that closes may say so twice: as the terminal, and as its shell.
        process.on(name, () => name === 'SIGHUP' || exitNow(exitFailure, output.isHeldUp))
      }
      log.info({ signal }, 'stopping: no more messages are accepted; those on disk are being delivered')
      sidecar.close().then(
        () => resolve(0),
        (error: unknown) => {
          log.error({ error }, 'closing has failed')
          resolve(exitFailure)
        },
      )
    }
    for (const name of stopSignals) process.on(name, stop)
  })
  try {
    await sidecar.start()
  } catch (error) {
    log.error({ error, hint: hintOf(error) }, 'Outrigger can not start')
    return end(exitFailure)
  }
  log.info(
    {
      version,
      publish: sidecar.publishAddresses.map(formatListenAddress),
      admin: sidecar.adminAddress && formatListenAddress(sidecar.adminAddress),
      broker: config.broker,
      directory: config.journal.directory,
    },
    'ready',
  )
  const failed = sidecar.failed.catch((error: unknown) => {
    log.error({ error, hint: hintOf(error) }, 'Outrigger can not go on')
    return exitFailure
  })
  const exitCode = await Promise.race([stopped, failed])
  log.info({ exitCode }, 'stopped')
  // Whatever is still open must not keep the process: what matters is on disk.
  return end(exitCode)
}

/**
 * Ends the process. Before it is gone, `process.exit` waits for the threads of Node's pool, and with it for a reader of the
 * log that does not read (`isHeldUp`). execve(2) does not: the process becomes one that does nothing but end.
 */
function exitNow(exitCode: number, isHeldUp: boolean): never {
  if (isHeldUp && process.execve !== undefined)
    process.execve(process.execPath, [process.execPath, '--eval', `process.exit(${exitCode})`], {})
  process.exit(exitCode)
}

/** What the command line runs. `run` gets here only in the process that loads its configuration. */
const commands: Commands = {
  async run({ config: file }) {
    const loaded = await load(file)
    if (loaded === null) return exitUsage
    const [{ describeConfig }, { sendConfig }] = await Promise.all([
      import('./config/describe-config.ts'),
      import('./config-process.ts'),
    ])
    const { config, warnings } = loaded
    await sendConfig({ config, warnings, described: describeConfig(config) }, (message, sent) =>
      process.send?.(message, undefined, undefined, sent),
    )
    process.disconnect?.()
    return 0
  },

  async checkConfig(file) {
    const { checkConfig } = await import('./cli/config-check.ts')
    return checkConfig({ file, env: process.env, readFile: readText, out: process.stdout, err: process.stderr })
  },

  async printConfigSchema() {
    const { printConfigSchema } = await import('./cli/config-schema.ts')
    return printConfigSchema({ out: process.stdout })
  },

  async health({ config: file }) {
    const loaded = await load(file)
    if (loaded === null) return exitUsage
    const { askHealth } = await import('./cli/health.ts')
    const { healthy, answer } = await askHealth(loaded.config.admin.listen)
    ;(healthy ? process.stdout : process.stderr).write(`${answer}\n`)
    return healthy ? 0 : exitFailure
  },

  async tail({ config: file }, options) {
    const loaded = await load(file)
    if (loaded === null) return exitUsage
    const [{ openConsumer }, { tail }, { systemClock }, { makeLog }] = await Promise.all([
      import('./adapters.ts'),
      import('./cli/tail.ts'),
      import('./base/clock.ts'),
      import('./base/log.ts'),
    ])
    const stop = stopSignal()
    const consumer = await openConsumer(loaded.config, systemClock, makeLog('warn', {}, process.stderr.fd))
    try {
      return await told(async () => {
        await tail(consumer, options, process.stdout, stop)
        return 0
      })
    } finally {
      await consumer.close()
    }
  },

  async log({ config: file }, options) {
    const loaded = await load(file)
    if (loaded === null) return exitUsage
    const [{ openMessageLog }, { printLog }, { systemClock }, { makeLog }] = await Promise.all([
      import('./ledgers.ts'),
      import('./cli/log.ts'),
      import('./base/clock.ts'),
      import('./base/log.ts'),
    ])
    const stop = stopSignal()
    return told(async () => {
      const log = await openMessageLog(loaded.config, systemClock, makeLog('warn', {}, process.stderr.fd))
      if (log === null) {
        process.stderr.write('There is no message log: ledger.log is none.\n')
        return exitFailure
      }
      try {
        await printLog(log, systemClock, options, process.stdout, stop)
        return 0
      } finally {
        await log.close()
      }
    })
  },

  async show({ config: file }, options) {
    const loaded = await load(file)
    if (loaded === null) return exitUsage
    const [{ show, sidecarAt }, { openMessageLog, openMetadataStore }, { systemClock }, { makeLog }] =
      await Promise.all([
        import('./cli/show.ts'),
        import('./ledgers.ts'),
        import('./base/clock.ts'),
        import('./base/log.ts'),
      ])
    const { config } = loaded
    const log = makeLog('error', {}, process.stderr.fd)
    const stop = stopSignal()
    return told(async () => {
      const metadata = await openMetadataStore(config, systemClock, log)
      const messageLog = options.content ? await openMessageLog(config, systemClock, log) : null
      const sources = { askSidecar: sidecarAt(config.publish.listen), metadata, log: messageLog }
      try {
        return await show(sources, options, process.stdout, process.stderr, stop)
      } finally {
        await Promise.all([metadata?.close(), messageLog?.close()])
      }
    })
  },

  async migrate({ config: file }, options) {
    const loaded = await load(file)
    if (loaded === null) return exitUsage
    const [{ migrate }, { openMessageLog, openMetadataStore }, { nodeDisk }, { systemClock }, { makeLog }] =
      await Promise.all([
        import('./cli/migrate.ts'),
        import('./ledgers.ts'),
        import('./journal/node-disk.ts'),
        import('./base/clock.ts'),
        import('./base/log.ts'),
      ])
    const { ledger, journal } = loaded.config
    const log = makeLog('error', {}, process.stderr.fd)
    const stop = stopSignal()
    return told(async () => {
      const isEmbedded = ledger.metadata === 'embedded' || ledger.log === 'embedded'
      if (isEmbedded && !options.dryRun) await nodeDisk.makeDirectory(journal.directory)
      const metadata = await openMetadataStore(loaded.config, systemClock, log)
      const messageLog = await openMessageLog(loaded.config, systemClock, log)
      const stores = [
        ...(metadata ? [{ store: 'metadata', kind: ledger.metadata, schema: metadata.schema }] : []),
        ...(messageLog ? [{ store: 'log', kind: ledger.log, schema: messageLog.schema }] : []),
      ]
      try {
        return await migrate(stores, options, process.stdout, process.stderr, stop)
      } finally {
        await Promise.all([metadata?.close(), messageLog?.close()])
      }
    })
  },

  async backup({ config: file }, directory) {
    const loaded = await load(file)
    if (loaded === null) return exitUsage
    const [
      { backUp, backupText },
      { copyDatabase },
      { nodeDisk },
      { systemClock },
      { configuredRecorders },
      { openKeyRing },
    ] = await Promise.all([
      import('./cli/backup.ts'),
      import('./embedded/database-copy.ts'),
      import('./journal/node-disk.ts'),
      import('./base/clock.ts'),
      import('./recording.ts'),
      import('./security/configured-key-ring.ts'),
    ])
    const { broker, ledger, journal, encryption } = loaded.config
    const databases: string[] = []
    // What claims something before what it is claimed of.
    if (ledger.metadata === 'embedded' || ledger.log === 'embedded') databases.push('ledger.sqlite')
    if (broker === 'embedded') databases.push('broker.sqlite')
    const { version } = packageJson
    const recorders = configuredRecorders(loaded.config)
    return told(async () => {
      const keys = openKeyRing(encryption, systemClock)
      const source = { directory: journal.directory, recorders, databases, copyDatabase, version, keys }
      process.stdout.write(backupText(await backUp(nodeDisk, systemClock, source, directory)))
      return 0
    })
  },

  async restore({ config: file }, directory) {
    const loaded = await load(file)
    if (loaded === null) return exitUsage
    const [{ restore, restoredText }, { nodeDisk }, { systemClock }, { openKeyRing }] = await Promise.all([
      import('./cli/restore.ts'),
      import('./journal/node-disk.ts'),
      import('./base/clock.ts'),
      import('./security/configured-key-ring.ts'),
    ])
    const { journal, encryption } = loaded.config
    return told(async () => {
      const keys = openKeyRing(encryption, systemClock)
      process.stdout.write(restoredText(await restore(nodeDisk, systemClock, directory, journal.directory, keys)))
      return 0
    })
  },

  async generateKey({ id, to }) {
    const [{ generateKey, newKey }, { nodeDisk }, { systemClock }] = await Promise.all([
      import('./cli/keys-generate.ts'),
      import('./journal/node-disk.ts'),
      import('./base/clock.ts'),
    ])
    return told(async () => {
      await generateKey(nodeDisk, newKey(id, systemClock.now()), to, process.stdout)
      return 0
    })
  },

  async rotateKeys(file, { id }) {
    const [{ rotateKeys }, { newKey }, { systemClock }] = await Promise.all([
      import('./cli/keys-rotate.ts'),
      import('./cli/keys-generate.ts'),
      import('./base/clock.ts'),
    ])
    return told(async () => {
      await rotateKeys(file, newKey(id, systemClock.now()), process.stdout)
      return 0
    })
  },

  async listKeys({ config: file }, output) {
    const loaded = await load(file)
    if (loaded === null) return exitUsage
    const [{ listKeys }, { nodeDisk }, { configuredKeys }] = await Promise.all([
      import('./cli/keys-list.ts'),
      import('./journal/node-disk.ts'),
      import('./security/configured-key-ring.ts'),
    ])
    const { journal, encryption } = loaded.config
    return told(() => listKeys(nodeDisk, journal.directory, configuredKeys(encryption), output, process.stdout))
  },

  async inspectJournal({ config: file }, { directory, json }) {
    const { inspectJournal } = await import('./cli/journal-inspect.ts')
    return withJournal(file, (tools, { journal }) =>
      inspectJournal(tools, directory ?? journal.directory, { json }, process.stdout),
    )
  },

  async verifyJournal({ config: file }, { directory, json }) {
    const { verifyJournal } = await import('./cli/journal-verify.ts')
    return withJournal(file, (tools, { journal }) =>
      verifyJournal(tools, directory ?? journal.directory, { json }, process.stdout),
    )
  },

  async exportJournal({ config: file }, { directory, ...options }) {
    const [{ exportJournal }, { decodeDeadLetter }] = await Promise.all([
      import('./cli/journal-export.ts'),
      import('./forwarder/dead-letters.ts'),
    ])
    return withJournal(file, (tools, { journal }) =>
      exportJournal(
        tools,
        directory ?? journal.directory,
        options,
        decodeDeadLetter,
        process.stdout,
        process.stderr,
        stopSignal(),
      ),
    )
  },

  async repairJournal({ config: file }, { directory, ...options }) {
    const { repairJournal } = await import('./cli/journal-repair.ts')
    return withJournal(file, (tools, { journal }) =>
      repairJournal(tools, directory ?? journal.directory, options, process.stdout),
    )
  },

  async importJournal({ config: file }, { file: from, ...options }) {
    const { importMessages } = await import('./cli/journal-import.ts')
    return withJournal(file, async (tools, { journal }) => {
      const input = from === '-' ? process.stdin : (await open(from)).createReadStream()
      return importMessages(tools, journal, input, options, process.stdout, process.stderr)
    })
  },

  async verifyLedger({ config: file }, range, output) {
    const { verifyLedger } = await import('./cli/ledger-verify.ts')
    return withLedger(file, range, (broker, ledger, compared, _config, signal) =>
      verifyLedger(broker, ledger, compared, output, process.stdout, signal),
    )
  },

  async backfillLedger({ config: file }, range, { dryRun }) {
    const [{ backfillLedger }, { systemClock: clock }] = await Promise.all([
      import('./cli/ledger-backfill.ts'),
      import('./base/clock.ts'),
    ])
    return withLedger(file, range, (broker, ledger, compared, config, signal) => {
      const { batchMessagesMax, batchBytesMax } = config.ledger
      const options = { dryRun, batchMessagesMax, batchBytesMax, now: () => clock.now() }
      return backfillLedger(broker, ledger, compared, options, process.stdout, signal)
    })
  },
}

/** For commands that look into a journal's files. */
async function withJournal(
  file: string | undefined,
  work: (tools: JournalTools, config: Config) => Promise<number>,
): Promise<number> {
  const loaded = await load(file)
  if (loaded === null) return exitUsage
  const [{ nodeDisk }, { systemClock }, { openKeyRing }, { journalExits }] = await Promise.all([
    import('./journal/node-disk.ts'),
    import('./base/clock.ts'),
    import('./security/configured-key-ring.ts'),
    import('./cli/journal-folder.ts'),
  ])
  try {
    const keys = openKeyRing(loaded.config.encryption, systemClock)
    return await work({ disk: nodeDisk, clock: systemClock, keys }, loaded.config)
  } catch (error) {
    tell(error)
    return journalExits.failed
  }
}

/** For commands that compare the ledger with the broker. */
async function withLedger(
  file: string | undefined,
  asked: LedgerArguments,
  work: (
    broker: ComparedBroker,
    ledger: ComparedLedger,
    range: ComparedRange,
    config: Config,
    signal: AbortSignal,
  ) => Promise<number>,
): Promise<number> {
  const loaded = await load(file)
  if (loaded === null) return exitUsage
  const [{ openConsumer }, { openMessageLog, openMetadataStore }, { ledgerRange }, { systemClock }, { makeLog }] =
    await Promise.all([
      import('./adapters.ts'),
      import('./ledgers.ts'),
      import('./cli/ledger-range.ts'),
      import('./base/clock.ts'),
      import('./base/log.ts'),
    ])
  const { config } = loaded
  const log = makeLog('error', {}, process.stderr.fd)
  const stop = stopSignal()
  let range: ComparedRange
  try {
    range = ledgerRange(asked, systemClock.now(), config.ledger.retention)
  } catch (error) {
    tell(error)
    return exitUsage
  }
  const exitCode = await told(async () => {
    const consumer = await openConsumer(config, systemClock, log)
    const metadata = await openMetadataStore(config, systemClock, log)
    const messageLog = await openMessageLog(config, systemClock, log)
    try {
      return await work(consumer, { metadata, log: messageLog }, range, config, stop)
    } finally {
      await Promise.all([consumer.close(), metadata?.close(), messageLog?.close()])
    }
  }, stop)
  // What a command that was interrupted has found says nothing.
  return stop.aborted ? exitInterrupted : exitCode
}

function tell(error: unknown): void {
  process.stderr.write(`${[messageOf(error), hintOf(error)].filter(Boolean).join('\n')}\n`)
}

/** Aborts at the first SIGINT or SIGTERM; a second one ends the process as any. */
function stopSignal(): AbortSignal {
  const stop = new AbortController()
  for (const name of stopSignals) process.once(name, () => stop.abort())
  return stop.signal
}

/** The exit code of a command whose failure is explained; one that somebody has stopped has none. */
async function told(work: () => Promise<number>, stop?: AbortSignal): Promise<number> {
  try {
    return await work()
  } catch (error) {
    if (stop?.aborted) process.stderr.write('Interrupted.\n')
    else tell(error)
    return exitFailure
  }
}

/** The configuration, or null when its faults have been printed. */
async function load(file: string | undefined): Promise<LoadedConfig | null> {
  const [{ loadConfig }, { ConfigError }] = await Promise.all([
    import('./config/load-config.ts'),
    import('./config/config-error.ts'),
  ])
  try {
    const loaded = await loadConfig({ file, env: process.env, readFile: readText })
    keepOutOfCoreDumps(loaded.config)
    return loaded
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    return null
  }
}

function readText(path: string): Promise<string> {
  return readFile(path, 'utf8')
}

function hintOf(error: unknown): string | undefined {
  return error instanceof Error && 'hint' in error && error.hint !== '' ? String(error.hint) : undefined
}

/** The inside of a thread that `sidecar.ts` has started. */
async function runThread(data: DeliveryWorkerData | RecordingWorkerData): Promise<void> {
  const [{ nodeDisk }, { systemClock }, { makeLog }, { ThreadLogSink }] = await Promise.all([
    import('./journal/node-disk.ts'),
    import('./base/clock.ts'),
    import('./base/log.ts'),
    import('./base/log-output.ts'),
  ])
  const log = makeLog(data.config.log.level, { pid: process.pid, part: data.role }, new ThreadLogSink(data.log))
  // What it throws goes to the main thread, which tells it, and ends.
  switch (data.role) {
    case 'delivery': {
      const { runDelivery } = await import('./delivery-worker.ts')
      await runDelivery(data, nodeDisk, systemClock, log)
      break
    }
    case 'recording': {
      const { runRecording } = await import('./recording-worker.ts')
      await runRecording(data, nodeDisk, systemClock, log)
      break
    }
    default:
      data satisfies never
  }
}

async function commandLine(args: readonly string[]): Promise<void> {
  // A reader of a pipe that has seen enough (`outrigger tail … | head`) is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    process.stderr.write(`Nothing more can be written to the standard output: ${error.message}\n`)
    process.exit(exitFailure)
  })
  const { runCommandLine } = await import('./cli/command-line.ts')
  process.exitCode = await runCommandLine(args, packageJson.version, commands, process.stdout, process.stderr)
}

/**
 * Begins the process anew (execve(2): the same process, and no other one beside it) with settings that are read at its
 * start only, and bound the memory that each pod pays for:
 * - glibc raises its threshold for giving memory back as soon as a large block is freed, as after reading the program's
 *   own text; a threshold that is set stays, and saves some 8 MB;
 * - V8 lets the young generation of each thread grow with the load; with 8 MB a half it costs no measurable time.
 */
function beginWithBoundedMemory(): void {
  const variable = 'MALLOC_TRIM_THRESHOLD_'
  if (process.platform !== 'linux' || process.env[variable] !== undefined || process.execve === undefined) return
  const args = [
    process.execPath,
    '--max-semi-space-size=8',
    '--disable-sigusr1',
    ...process.execArgv,
    ...process.argv.slice(1),
  ]
  process.execve(process.execPath, args, { ...process.env, [variable]: String(128 * 1024) })
}

async function main([first, ...others]: readonly string[]): Promise<void> {
  if (first === loadConfigArgument && process.send !== undefined) {
    await commandLine(others)
  } else if (first === 'run') {
    beginWithBoundedMemory()
    const { loadConfigApart } = await import('./config-process.ts')
    const loaded = await loadConfigApart(entry, [first, ...others])
    if (typeof loaded === 'number') process.exitCode = loaded
    else await runSidecar(loaded)
  } else {
    await commandLine(first === undefined ? [] : [first, ...others])
  }
}

await (isMainThread ? main(process.argv.slice(2)) : runThread(workerData as DeliveryWorkerData | RecordingWorkerData))
