import { execFile } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { codeOf } from '../../src/base/errors.ts'

/** A command that ended in failure; the message has the last lines of what it printed. */
class CommandError extends Error {
  override readonly name = 'CommandError'
}

export interface CommandOptions {
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  /** Default: 10 minutes, as long as a first download may take on a slow line. */
  readonly timeoutMs?: number
}

/** Runs a command to its end and gives what it printed on stdout and stderr. */
export function run(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<{ stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    execFile(
      command,
      [...args],
      {
        cwd: options.cwd,
        env: options.env ?? process.env,
        timeout: options.timeoutMs ?? 600_000,
        killSignal: 'SIGKILL',
        maxBuffer: 64 * 1024 * 1024,
      },
      (error, stdout, stderr) => {
        if (error === null) return resolve({ stdout, stderr })
        const shown = [command, ...args].join(' ')
        reject(new CommandError(`${shown}: ${lastLines(`${stdout}${stderr}`) || error.message}`, { cause: error }))
      },
    )
  })
}

/** Like `run`, but a command that is missing or fails gives null: for asking whether something is there. */
export async function tryRun(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<{ stdout: string; stderr: string } | null> {
  try {
    return await run(command, args, options)
  } catch (error) {
    if (error instanceof CommandError) return null
    throw error
  }
}

/** The path of a command, or null. Servers are looked for too where a user's PATH does not lead. */
export async function findCommand(command: string): Promise<string | null> {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  for (const folder of [...folders, '/usr/local/sbin', '/usr/sbin', '/sbin']) {
    const path = join(folder, command)
    try {
      await access(path, constants.X_OK)
      return path
    } catch (error) {
      if (!['ENOENT', 'EACCES', 'ENOTDIR'].includes(codeOf(error) ?? '')) throw error
    }
  }
  return null
}

/** The last lines of a text, for error messages. */
export function lastLines(text: string, count = 20): string {
  return text.trimEnd().split('\n').slice(-count).join('\n')
}
