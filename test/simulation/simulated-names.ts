import { dirname } from 'node:path'
import type { Random } from '../torture/random.ts'
import type { SimulatedFile } from './simulated-file.ts'

interface NameChange {
  readonly directory: string
  readonly file: SimulatedFile
  /** The name that the file loses, and the one it gets. */
  readonly removed: string | null
  readonly added: string | null
}

/**
 * What a power failure may undo of the changes to names that were not synced. `latest`: the last ones, whichever file they
 * are of, as with the journal of ext4 or xfs. `any`: those of any file, its own last ones first; POSIX promises no more.
 */
export type NameLoss = 'latest' | 'any'

/** The names of files: as every process sees them, and as they are on the platter. */
export class SimulatedNames {
  #names = new Map<string, SimulatedFile>()
  #stable = new Map<string, SimulatedFile>()
  #changes: NameChange[] = []

  get(path: string): SimulatedFile | undefined {
    return this.#names.get(path)
  }

  /** All names there are, in the order in which they were given. */
  all(): ReadonlyMap<string, SimulatedFile> {
    return this.#names
  }

  add(path: string, file: SimulatedFile): void {
    this.#change({ directory: dirname(path), file, removed: null, added: path })
  }

  rename(from: string, to: string, file: SimulatedFile): void {
    this.#change({ directory: dirname(to), file, removed: from, added: to })
  }

  remove(path: string, file: SimulatedFile): void {
    this.#change({ directory: dirname(path), file, removed: path, added: null })
  }

  sync(directory: string): void {
    for (const change of this.#changes) if (change.directory === directory) apply(this.#stable, change)
    this.#changes = this.#changes.filter((change) => change.directory !== directory)
  }

  /** A sync that fails: some of the changes got to the platter. */
  loseSync(random: Random): void {
    const kept = random.between(0, this.#changes.length)
    for (const change of this.#changes.splice(0, kept)) apply(this.#stable, change)
  }

  powerOff(random: Random, loss: NameLoss): void {
    const { length } = this.#changes
    const all = random.pick([0, length, random.between(0, length)])
    const keptOf = new Map<SimulatedFile, boolean>()
    this.#changes.forEach((change, i) => {
      const isKept = loss === 'latest' ? i < all : keptOf.get(change.file) !== false && random.next() < 0.6
      keptOf.set(change.file, isKept)
      if (isKept) apply(this.#stable, change)
    })
    this.#changes = []
    this.#names = new Map(this.#stable)
    for (const file of new Set(this.#names.values())) file.powerOff(random)
  }

  #change(change: NameChange): void {
    apply(this.#names, change)
    this.#changes.push(change)
  }
}

function apply(names: Map<string, SimulatedFile>, { file, removed, added }: NameChange): void {
  if (removed !== null && names.get(removed) === file) names.delete(removed)
  if (added !== null) names.set(added, file)
}
