/** Keeps what a command prints. */
export class TextOutput {
  text = ''

  write(text: string): void {
    this.text += text
  }
}
