import type { Random } from '../torture/random.ts'

/** What a drive writes as one: all of it or nothing. */
export const sectorBytes = 512

/**
 * What became of a sector in the page cache. A lost one was dropped by a failed sync: the kernel takes it for clean, and
 * may show it until it needs the memory, but it will never reach the platter.
 */
const clean = 0
const dirty = 1
const lost = 2

/** What a file holds: as every process sees it, and as it is on the platter. */
export class SimulatedFile {
  #cached = Buffer.alloc(0)
  #stable = Buffer.alloc(0)
  #stableSize = 0
  #sectors = new Uint8Array(0)
  #lostSectors = 0
  size = 0

  read(target: Buffer, position: number, random: Random): number {
    const bytes = Math.max(0, Math.min(target.length, this.size - position))
    if (this.#lostSectors > 0 && random.next() < 0.3) this.#evict(random)
    if (bytes > 0) this.#cached.copy(target, 0, position, position + bytes)
    return bytes
  }

  write(data: Buffer, position: number, random: Random): void {
    if (data.length === 0) return
    const end = position + data.length
    this.#reserve(end)
    data.copy(this.#cached, position)
    this.size = Math.max(this.size, end)
    this.#mark(position, end)
    // The kernel writes back when it likes to.
    if (random.next() < 0.05) this.#writeBack(random)
  }

  truncate(size: number): void {
    this.#reserve(size)
    if (size < this.size) {
      this.#cached.fill(0, size, this.size)
      this.#mark(size, this.size)
    }
    this.size = size
  }

  /** What was written between `from` and `end` is on the platter, and how long the file is. */
  sync(from = 0, end = this.size): void {
    for (const sector of this.#marked(dirty, from, end)) this.#keep(sector)
    this.#stableSize = this.size
  }

  /** A sync that fails: some sectors get to the platter, the others are dropped, and all count as clean. */
  loseSync(random: Random, from = 0, end = this.size): void {
    const share = random.pick([0, 0, 0.5, 1])
    for (const sector of this.#marked(dirty, from, end))
      if (random.next() < share) this.#keep(sector)
      else {
        this.#sectors[sector] = lost
        this.#lostSectors++
      }
    if (random.next() < 0.5) this.#stableSize = this.size
    if (random.next() < 0.3) this.#evict(random)
  }

  /** The power goes: any sector that was not synced may have got to the platter or not, and so may the size. */
  powerOff(random: Random): void {
    const unsynced = this.#marked(dirty, 0, this.#cached.length)
    const pick = random.pick([keepNone, keepAll, keepAny, keepFirst, keepLast])
    for (const sector of pick(unsynced, random)) this.#keep(sector)
    if (random.next() < 0.5) this.#stableSize = this.size
    this.size = this.#stableSize
    this.#reserve(this.size)
    this.#stable.fill(0, this.size)
    this.#stable.copy(this.#cached)
    this.#sectors.fill(clean)
    this.#lostSectors = 0
  }

  /** A bit turns on the platter, and is seen at once. */
  flipBit(position: number, bit: number): void {
    for (const bytes of [this.#cached, this.#stable]) bytes[position] = (bytes[position] ?? 0) ^ (1 << bit)
  }

  /** Replaces bytes on the platter, past the file system: what a drive does that writes to the wrong place. */
  overwrite(data: Buffer, position: number): void {
    data.copy(this.#cached, position)
    data.copy(this.#stable, position)
  }

  /** What every process sees now. */
  contents(): Buffer {
    return this.#cached.subarray(0, this.size)
  }

  /** The memory is needed for something else. */
  #evict(random: Random): void {
    for (const sector of this.#marked(lost, 0, this.#cached.length)) {
      if (random.next() < 0.5) continue
      const start = sector * sectorBytes
      this.#stable.copy(this.#cached, start, start, start + sectorBytes)
      this.#sectors[sector] = clean
      this.#lostSectors--
    }
  }

  #writeBack(random: Random): void {
    for (const sector of this.#marked(dirty, 0, this.size)) if (random.next() < 0.5) this.#keep(sector)
    if (random.next() < 0.5) this.#stableSize = this.size
  }

  #marked(state: number, from: number, end: number): number[] {
    const sectors: number[] = []
    const last = Math.min(this.#sectors.length, Math.ceil(end / sectorBytes))
    for (let sector = Math.floor(from / sectorBytes); sector < last; sector++)
      if (this.#sectors[sector] === state) sectors.push(sector)
    return sectors
  }

  #mark(from: number, end: number): void {
    const first = Math.floor(from / sectorBytes)
    const last = Math.ceil(end / sectorBytes)
    if (this.#lostSectors > 0)
      for (let sector = first; sector < last; sector++) if (this.#sectors[sector] === lost) this.#lostSectors--
    this.#sectors.fill(dirty, first, last)
  }

  #keep(sector: number): void {
    const start = sector * sectorBytes
    this.#cached.copy(this.#stable, start, start, start + sectorBytes)
    this.#sectors[sector] = clean
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#cached.length) return
    const capacity = Math.ceil((bytes * 1.5) / sectorBytes) * sectorBytes
    this.#cached = grown(this.#cached, capacity)
    this.#stable = grown(this.#stable, capacity)
    const sectors = new Uint8Array(capacity / sectorBytes)
    sectors.set(this.#sectors)
    this.#sectors = sectors
  }
}

function grown(bytes: Buffer<ArrayBuffer>, capacity: number): Buffer<ArrayBuffer> {
  const larger = Buffer.alloc(capacity)
  bytes.copy(larger)
  return larger
}

type Pick = (sectors: readonly number[], random: Random) => readonly number[]

const keepNone: Pick = () => []
const keepAll: Pick = (sectors) => sectors
const keepAny: Pick = (sectors, random) => sectors.filter(() => random.next() < 0.5)
const keepFirst: Pick = (sectors, random) => sectors.slice(0, random.between(0, sectors.length))
const keepLast: Pick = (sectors, random) => sectors.slice(random.between(0, sectors.length))
