import { request } from 'node:http'
import { messageOf } from '../base/errors.ts'
import type { ListenAddress } from '../base/listen-address.ts'

const timeoutMs = 3000

/** Asks the operator's listener at `address` whether Outrigger is ready. Never rejects. */
export function askHealth(address: ListenAddress): Promise<{ readonly healthy: boolean; readonly answer: string }> {
  const target =
    address.kind === 'unix' ? { socketPath: address.path } : { host: reachable(address.host), port: address.port }
  return new Promise((resolve) => {
    const asking = request(
      { ...target, path: '/readyz', headers: { host: 'localhost' }, timeout: timeoutMs, agent: false },
      (response) => {
        let body = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          body += chunk
        })
        response.on('error', (error) => resolve({ healthy: false, answer: messageOf(error) }))
        response.on('end', () => resolve({ healthy: response.statusCode === 200, answer: body.trim() }))
      },
    )
    asking.on('timeout', () => asking.destroy(new Error(`no answer within ${timeoutMs} ms`)))
    asking.on('error', (error) => resolve({ healthy: false, answer: messageOf(error) }))
    asking.end()
  })
}

/** An address to bind to is not always one to connect to. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  return host === '::' ? '::1' : host
}
