/**
 * What single messages are compared with: a bare `node:http` server that reads the body and answers 202 without keeping
 * anything. Started as `node http-baseline.ts PORT SOCKET_PATH`; prints `ready` when it listens on both.
 */
import { createServer, type RequestListener } from 'node:http'

const [port = '', socketPath = ''] = process.argv.slice(2)

const accept: RequestListener = (request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    Buffer.concat(chunks)
    response.writeHead(202, { 'Content-Length': 0 })
    response.end()
  })
}

await Promise.all([
  new Promise<void>((resolve) => {
    createServer(accept).listen(Number(port), '127.0.0.1', resolve)
  }),
  new Promise<void>((resolve) => {
    createServer(accept).listen(socketPath, resolve)
  }),
])
console.log('ready')
