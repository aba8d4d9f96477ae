import { readFile } from 'node:fs/promises'
import { isMainThread, workerData } from 'node:worker_threads'
import packageJson from '../package.json' with { type: 'json' }
import { messageOf } from './base/errors.ts'
import type { Commands } from './cli/command-line.ts'
import type { LoadedForRun } from './config-process.ts'
import { loadConfigArgument } from './config-process.ts'
import type { LoadedConfig } from './config/load-config.ts'
import type { DeliveryThreadData } from './delivery-thread.ts'

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
const entry = new URL(import.meta.url)
const stopSignals = ['SIGTERM', 'SIGINT'] as const

/** `outrigger run`, once its configuration is loaded. Ends the process. */
async function runSidecar({ config, described, warnings }: LoadedForRun): Promise<never> {
  const [{ Sidecar }, { nodeDisk }, { systemClock }, { makeLog }, { formatListenAddress }] = await Promise.all([
    import('./sidecar.ts'),
    import('./journal/node-disk.ts'),
    import('./base/clock.ts'),
    import('./base/log.ts'),
    import('./config/listen-address.ts'),
  ])
  const { version } = packageJson
  const log = makeLog(config.log.level, { pid: process.pid })
  for (const warning of warnings) log.warn({}, warning)
  // Its state is on disk: an unexpected exception ends the process, and the next start goes on from there.
  process.on('uncaughtException', (error) => {
    log.error({ error }, 'an unexpected error; Outrigger ends')
    process.exit(exitFailure)
  })

  const sidecar = new Sidecar(config, nodeDisk, systemClock, log, { entry, version, described })
  const stopped = new Promise<number>((resolve) => {
    const stop = (signal: NodeJS.Signals): void => {
      for (const name of stopSignals) {
        process.removeListener(name, stop)
        process.on(name, () => process.exit(exitFailure))
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
    process.exit(exitFailure)
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
    const stop = new AbortController()
    for (const name of stopSignals) process.once(name, () => stop.abort())
    const consumer = await openConsumer(loaded.config, systemClock, makeLog('warn', {}, process.stderr.fd))
    try {
      await tail(consumer, options, process.stdout, stop.signal)
      return 0
    } catch (error) {
      process.stderr.write(`${[messageOf(error), hintOf(error)].filter(Boolean).join('\n')}\n`)
      return exitFailure
    } finally {
      await consumer.close()
    }
  },
}

/** The configuration, or null when its faults have been printed. */
async function load(file: string | undefined): Promise<LoadedConfig | null> {
  const [{ loadConfig }, { ConfigError }] = await Promise.all([
    import('./config/load-config.ts'),
    import('./config/config-error.ts'),
  ])
  try {
    return await loadConfig({ file, env: process.env, readFile: readText })
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

/** The delivering thread. */
async function deliver(data: DeliveryThreadData): Promise<void> {
  const [{ runDelivery }, { nodeDisk }, { systemClock }, { makeLog }] = await Promise.all([
    import('./delivery-worker.ts'),
    import('./journal/node-disk.ts'),
    import('./base/clock.ts'),
    import('./base/log.ts'),
  ])
  const log = makeLog(data.config.log.level, { pid: process.pid, part: 'delivery' })
  try {
    await runDelivery(data, nodeDisk, systemClock, log)
  } catch (error) {
    log.error({ error, hint: hintOf(error) }, 'delivering can not go on')
    process.exit(exitFailure)
  }
}

async function commandLine(args: readonly string[]): Promise<void> {
  // A reader of a pipe that has seen enough (`outrigger tail … | head`) is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    process.exit(0)
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
  const args = [process.execPath, '--max-semi-space-size=8', ...process.execArgv, ...process.argv.slice(1)]
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

await (isMainThread ? main(process.argv.slice(2)) : deliver(workerData as DeliveryThreadData))
