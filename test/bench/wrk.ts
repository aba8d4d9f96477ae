import { writeFile } from 'node:fs/promises'
import { messageOf } from '../../src/base/errors.ts'
import { findCommand, tryRun } from '../stack/command.ts'
import { installDebianPackages } from '../stack/debian-packages.ts'
import type { BenchRequest } from './bodies.ts'
import type { Load, LoadResult } from './load.ts'
import type { Workbench } from './workbench.ts'

/** In place of the path of `wrk`, where it can't be had. */
export const WRK_MISSING = Symbol('wrk is missing')

/** The path of `wrk`, which is installed where that can be done; `say` hears why it can't. */
export async function findWrk(say: (line: string) => void): Promise<string | typeof WRK_MISSING> {
  const found = await findCommand('wrk')
  if (found !== null) return found
  try {
    await installDebianPackages('wrk', ['wrk'])
  } catch (error) {
    say(`${messageOf(error)}; a generator on Node takes its place, which takes more of the CPU itself.`)
    return WRK_MISSING
  }
  return (await findCommand('wrk')) ?? WRK_MISSING
}

/** `wrk --version` ends in failure, after printing it. */
export async function wrkVersion(wrk: string): Promise<string> {
  const printed = await tryRun('sh', ['-c', '"$1" --version; true', 'sh', wrk])
  return /wrk (?:debian\/)?(\S+)/.exec(printed?.stdout ?? '')?.[1] ?? 'unknown'
}

/** Its arguments for a load; writes the script that makes the requests. */
export async function wrkArguments(bench: Workbench, port: number, load: Load): Promise<string[]> {
  const script = bench.path('wrk.lua')
  await writeFile(script, luaScript(load.requests))
  const timing = ['-d', `${load.seconds}s`, '-c', String(load.connections), '--timeout', '10s']
  // A second thread would only take turns with the first: the CPUs have other things to do.
  return ['-t', '1', ...timing, '-s', script, `http://127.0.0.1:${port}${load.path}`]
}

/** Reads the line that the script prints at the end. */
export function wrkResult(printed: string): LoadResult {
  const match = /^result (.+)$/m.exec(printed)
  if (!match) throw new Error(`wrk printed no result: ${printed}`)
  const numbers = (match[1] as string).split(' ').map(Number)
  const [requests = 0, micros = 0, p50 = 0, p99 = 0, failedAnswers = 0, failedSockets = 0] = numbers
  if (failedAnswers > 0) throw new Error(`${failedAnswers} of ${requests} requests were refused`)
  if (failedSockets > 0) throw new Error(`${failedSockets} connections failed or answered late`)
  if (requests === 0) throw new Error('not one request was answered')
  return { requests, seconds: micros / 1e6, p50Ms: p50 / 1000, p99Ms: p99 / 1000 }
}

function luaScript(requests: readonly BenchRequest[]): string {
  const made = requests.map(({ headers, body }) => {
    const fields = Object.entries(headers).map(([name, value]) => `[${luaText(name)}]=${luaText(value)}`)
    return `{headers={${fields.join(',')}},body=${luaText(body)}}`
  })
  return `
wrk.method = "POST"
local given = {
${made.join(',\n')}
}
wrk.headers = given[1].headers
wrk.body = given[1].body
local formatted = {}
local turn = 0
if #given > 1 then
  function init(args)
    for i, each in ipairs(given) do formatted[i] = wrk.format("POST", nil, each.headers, each.body) end
  end
  function request()
    turn = turn % #formatted + 1
    return formatted[turn]
  end
end
function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format("result %d %d %d %d %d %d", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
`
}

/** Our bodies are ASCII, so JSON's escapes are Lua's. */
function luaText(text: string): string {
  return JSON.stringify(text)
}
