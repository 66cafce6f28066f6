/** What a panel is to show, such as a tensor or a job: asked for elsewhere, before or while the panel is open. */
export class Selection<T> {
  private readonly pending = new Map<string, T>();
  private readonly listeners = new Map<string, Set<(wanted: T) => void>>();

  /** Asks every open panel of the checkpoint, or the next one that opens. */
  ask(model: string, wanted: T): void {
    const listeners = this.listeners.get(model);
    if (listeners?.size) for (const listener of listeners) listener(wanted);
    else this.pending.set(model, wanted);
  }

  /** What was asked for before the panel was there; told once. */
  take(model: string): T | undefined {
    const wanted = this.pending.get(model);
    this.pending.delete(model);
    return wanted;
  }

  onAsk(model: string, listener: (wanted: T) => void): { dispose(): void } {
    const listeners = this.listeners.get(model) ?? new Set();
    this.listeners.set(model, listeners.add(listener));
    return { dispose: () => listeners.delete(listener) };
  }
}
