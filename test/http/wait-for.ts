/** Looks again and again until something is so. */
export async function waitFor(done: () => boolean, ms = 5000): Promise<void> {
  const deadline = performance.now() + ms
  while (!done()) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${done.toString()}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}
