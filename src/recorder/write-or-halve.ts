import { StoreError } from './store-error.ts'

/**
 * Writes items; what the store refuses for good (`permanent`) is halved until the one that is to blame stands alone and is
 * handed to `refused`. In order, one part at a time. Whatever else `write` throws, and what `refused` throws, is thrown on.
 */
export async function writeOrHalve<T>(
  items: readonly T[],
  write: (items: readonly T[]) => Promise<void>,
  refused: (item: T, error: StoreError) => Promise<void> | void,
): Promise<void> {
  try {
    await write(items)
  } catch (error) {
    if (!(error instanceof StoreError) || error.failure !== 'permanent') throw error
    const [only] = items
    if (only !== undefined && items.length === 1) {
      await refused(only, error)
      return
    }
    const half = Math.ceil(items.length / 2)
    await writeOrHalve(items.slice(0, half), write, refused)
    await writeOrHalve(items.slice(half), write, refused)
  }
}
