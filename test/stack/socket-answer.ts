import { connect } from 'node:net'

/**
 * Connects to 127.0.0.1, sends `question` (which may be empty), and gives the first `bytes` bytes of the answer: enough
 * to see that the right server talks, without its driver.
 */
export function socketAnswer(port: number, question: Buffer, bytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', timeout: 5_000 })
    let answer: Buffer = Buffer.alloc(0)
    socket.on('connect', () => {
      if (question.length > 0) socket.write(question)
    })
    socket.on('data', (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk])
      if (answer.length < bytes) return
      socket.destroy()
      resolve(answer.subarray(0, bytes))
    })
    socket.on('timeout', () => socket.destroy(new Error(`no answer on port ${port} within 5 s`)))
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`port ${port} hung up without an answer`)))
  })
}
