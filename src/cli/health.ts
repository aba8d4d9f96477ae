import { messageOf } from '../base/errors.ts'
import type { ListenAddress } from '../base/listen-address.ts'
import { askLocally } from './local-request.ts'

const timeoutMs = 3000

/** Asks the operator's listener at `address` whether Outrigger is ready. Never rejects. */
export async function askHealth(
  address: ListenAddress,
): Promise<{ readonly healthy: boolean; readonly answer: string }> {
  try {
    const { status, body } = await askLocally(address, '/readyz', timeoutMs)
    return { healthy: status === 200, answer: body.trim() }
  } catch (error) {
    return { healthy: false, answer: messageOf(error) }
  }
}
