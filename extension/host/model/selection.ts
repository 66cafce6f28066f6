/** Which tensor a checkpoint's panel is to show: asked for by the tree or another panel, before or while it is open. */
export class Selection {
  private readonly pending = new Map<string, string>();
  private readonly listeners = new Map<string, Set<(tensor: string) => void>>();

  /** Asks every open panel of the checkpoint, or the next one that opens. */
  ask(model: string, tensor: string): void {
    const listeners = this.listeners.get(model);
    if (listeners?.size) for (const listener of listeners) listener(tensor);
    else this.pending.set(model, tensor);
  }

  /** The tensor asked for before the panel was there; told once. */
  take(model: string): string | undefined {
    const tensor = this.pending.get(model);
    this.pending.delete(model);
    return tensor;
  }

  onAsk(model: string, listener: (tensor: string) => void): { dispose(): void } {
    const listeners = this.listeners.get(model) ?? new Set();
    this.listeners.set(model, listeners.add(listener));
    return { dispose: () => listeners.delete(listener) };
  }
}
