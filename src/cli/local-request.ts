import { request } from 'node:http'
import type { ListenAddress } from '../base/listen-address.ts'

export interface LocalAnswer {
  readonly status: number
  readonly body: string
}

/** Far more than any answer of Outrigger that a command asks for. */
const bodyLengthMax = 1024 * 1024

/** `GET` at one of Outrigger's own listeners. Rejects when nobody answers in time. */
export function askLocally(address: ListenAddress, path: string, timeoutMs: number): Promise<LocalAnswer> {
  const target =
    address.kind === 'unix' ? { socketPath: address.path } : { host: reachable(address.host), port: address.port }
  return new Promise((resolve, reject) => {
    const options = { ...target, path, headers: { host: 'localhost' }, timeout: timeoutMs, agent: false }
    const asking = request(options, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        body += chunk
        if (body.length > bodyLengthMax) response.destroy(new Error('the answer is too long to be Outrigger’s'))
      })
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
    })
    asking.on('timeout', () => asking.destroy(new Error(`no answer within ${timeoutMs} ms`)))
    asking.on('error', reject)
    asking.end()
  })
}

/** An address to bind to is not always one to connect to. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  return host === '::' ? '::1' : host
}
