const end = '<!-- End of the generated part. -->'

/** A part of a document that a command makes from a results file. Comments before and behind it say so. */
export class GeneratedPart {
  readonly #command: string

  constructor(command: string) {
    this.#command = command
  }

  /** The document with this part made anew. */
  replaced(document: string, file: string, text: string): string {
    const found = this.#find(document)
    const to = found === null ? -1 : document.indexOf(end, found.at)
    if (found === null || to === -1) throw new Error(`the document lacks the part that “${this.#command}” generates`)
    return `${document.slice(0, found.at)}${this.#begin(file)}\n\n${text}\n\n${document.slice(to)}`
  }

  /** From which results file it was made. */
  file(document: string): string | null {
    return this.#find(document)?.file ?? null
  }

  #begin(file: string): string {
    return `<!-- Generated from test/bench/results/${file} by \`${this.#command}\`. -->`
  }

  #find(document: string): { readonly at: number; readonly file: string } | null {
    const [before = '', behind = ''] = this.#begin('\n').split('\n')
    for (let at = document.indexOf(before); at !== -1; at = document.indexOf(before, at + 1)) {
      const [line = ''] = document.slice(at + before.length).split('\n', 1)
      if (line.endsWith(behind)) return { at, file: line.slice(0, -behind.length) }
    }
    return null
  }
}
