/**
 * A small program that owns server processes, so that they never outlive the run that wanted them: its stdin is a pipe
 * from that run, and when the pipe ends (the run closed it, crashed, or was killed with SIGKILL), it kills every
 * server's process group, runs the commands given for the end, removes the directory, and ends.
 *
 * Started by supervised-processes.ts as `node supervisor.ts JSON`; speaks JSON lines: `SupervisorRequest` in,
 * `SupervisorEvent` out.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, rmSync } from 'node:fs'
import { createInterface } from 'node:readline'

export interface SupervisorOptions {
  /** Removed at the end, or null to keep everything. */
  readonly removeDirectory: string | null
  /** Commands to run at the end, before the directory goes; their failure is ignored, as nobody is left to hear of it. */
  readonly atEnd: readonly (readonly string[])[]
}

export type SupervisorRequest =
  | {
      readonly do: 'spawn'
      readonly id: number
      readonly command: string
      readonly args: readonly string[]
      readonly env: Readonly<Record<string, string>>
      readonly directory: string
      /** stdout and stderr are appended here. */
      readonly logFile: string
    }
  | { readonly do: 'signal'; readonly id: number; readonly signal: NodeJS.Signals }

export type SupervisorEvent =
  | { readonly event: 'spawned'; readonly id: number; readonly pid: number }
  | { readonly event: 'failed'; readonly id: number; readonly message: string }
  | { readonly event: 'exited'; readonly id: number; readonly code: number | null; readonly signal: string | null }

const options = JSON.parse(process.argv[2] ?? '') as SupervisorOptions
const children = new Map<number, ChildProcess>()
let ending = false

const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => handle(JSON.parse(line) as SupervisorRequest))
lines.on('close', end)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end)
// The run may be gone while an event is being written; what matters then is the end of stdin.
process.stdout.on('error', () => undefined)

function handle(request: SupervisorRequest): void {
  if (ending) return
  switch (request.do) {
    case 'spawn':
      return start(request)
    case 'signal':
      return signalGroup(request.id, request.signal)
    default:
      request satisfies never
  }
}

function start(request: Extract<SupervisorRequest, { do: 'spawn' }>): void {
  const { id } = request
  let log: number
  try {
    log = openSync(request.logFile, 'a')
  } catch (error) {
    return tell({ event: 'failed', id, message: String(error) })
  }
  const child = spawn(request.command, [...request.args], {
    cwd: request.directory,
    env: request.env,
    stdio: ['ignore', log, log],
    detached: true,
  })
  closeSync(log)
  child.once('error', (error) => tell({ event: 'failed', id, message: error.message }))
  child.once('spawn', () => tell({ event: 'spawned', id, pid: child.pid ?? 0 }))
  child.once('exit', (code, signal) => {
    children.delete(id)
    tell({ event: 'exited', id, code, signal })
    if (ending && children.size === 0) finish()
  })
  if (child.pid !== undefined) children.set(id, child)
}

function signalGroup(id: number, signal: NodeJS.Signals): void {
  const pid = children.get(id)?.pid
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch (error) {
    // Ended between the look-up and the signal: its exit event is on its way.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function end(): void {
  if (ending) return
  ending = true
  for (const id of children.keys()) signalGroup(id, 'SIGKILL')
  if (children.size === 0) finish()
}

/** Only once the servers are gone: one that still writes would bring the directory back. */
function finish(): void {
  for (const [command, ...args] of options.atEnd) {
    if (command !== undefined) spawnSync(command, args, { stdio: 'ignore', timeout: 120_000 })
  }
  if (options.removeDirectory !== null) {
    rmSync(options.removeDirectory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }
  process.exit(0)
}

function tell(event: SupervisorEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`)
}
