/** Colours of the current VS Code theme, as numbers, and the scales built from them. */

export type Rgb = readonly [number, number, number];

const probe = document.createElement('canvas').getContext('2d', { willReadFrequently: true });

/** Any CSS colour over an opaque one. */
function parse(color: string, over: Rgb): Rgb {
  if (!probe) return over;
  probe.canvas.width = probe.canvas.height = 1;
  probe.fillStyle = css(over);
  probe.fillRect(0, 0, 1, 1);
  probe.fillStyle = color;
  probe.fillRect(0, 0, 1, 1);
  const [r = 0, g = 0, b = 0] = probe.getImageData(0, 0, 1, 1).data;
  return [r, g, b];
}

export const css = ([r, g, b]: Rgb, alpha = 1): string =>
  alpha === 1 ? `rgb(${r}, ${g}, ${b})` : `rgba(${r}, ${g}, ${b}, ${alpha})`;

export interface Theme {
  kind: 'dark' | 'light';
  highContrast: boolean;
  background: Rgb;
  foreground: Rgb;
  muted: Rgb;
  grid: Rgb;
  border: Rgb;
  focus: Rgb;
  /** In the order series take them. */
  series: readonly Rgb[];
  positive: Rgb;
  negative: Rgb;
  fontFamily: string;
}

function readTheme(): Theme {
  const style = getComputedStyle(document.documentElement);
  const bodyClass = document.body.classList;
  const light = bodyClass.contains('vscode-light') || bodyClass.contains('vscode-high-contrast-light');
  const highContrast = bodyClass.contains('vscode-high-contrast') || bodyClass.contains('vscode-high-contrast-light');
  const base: Rgb = light ? [255, 255, 255] : [0, 0, 0];
  const variable = (name: string) => style.getPropertyValue(`--vscode-${name}`).trim();
  const background = parse(variable('editor-background') || css(base), base);
  const color = (name: string, fallback: Rgb) => {
    const value = variable(name);
    return value ? parse(value, background) : fallback;
  };
  const foreground = color('foreground', light ? [59, 59, 59] : [204, 204, 204]);
  const blue = color('charts-blue', light ? [0, 95, 184] : [89, 164, 249]);
  const red = color('charts-red', [241, 76, 76]);
  return {
    kind: light ? 'light' : 'dark',
    highContrast,
    background,
    foreground,
    muted: color('descriptionForeground', foreground),
    grid: mix(background, foreground, highContrast ? 0.35 : 0.1),
    border: highContrast
      ? color('contrastBorder', foreground)
      : color('panel-border', mix(background, foreground, 0.2)),
    focus: color('focusBorder', blue),
    series: [
      blue,
      color('charts-yellow', [204, 167, 0]),
      color('charts-purple', [177, 128, 215]),
      color('charts-green', [137, 209, 133]),
      red,
    ],
    positive: blue,
    negative: red,
    fontFamily: variable('font-family') || 'sans-serif',
  };
}

let current: Theme | undefined;
const listeners = new Set<() => void>();

/** The theme now; read once per change. */
export function theme(): Theme {
  return (current ??= readTheme());
}

export function onThemeChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

// VS Code changes the variables on <html> and the class on <body>, in either order: read after both.
const observer = new MutationObserver(() => {
  current = undefined;
  for (const listener of listeners) listener();
});
observer.observe(document.documentElement, { attributes: true, attributeFilter: ['style', 'class'] });
observer.observe(document.body, { attributes: true, attributeFilter: ['class'] });

/** In the display's own values, where equal steps look about equal. */
function mix(a: Rgb, b: Rgb, share: number): Rgb {
  const at = (i: 0 | 1 | 2) => Math.round(a[i] * (1 - share) + b[i] * share);
  return [at(0), at(1), at(2)];
}

/** The strongest colour of a scale: the hue, and past it away from the background, so that contrast keeps growing. */
function scaleColor(hue: Rgb, share: number): Rgb {
  const { background, kind } = theme();
  if (share <= 0.7) return mix(background, hue, 0.04 + (0.96 * share) / 0.7);
  const far: Rgb = kind === 'light' ? [8, 24, 58] : [232, 244, 255];
  return mix(hue, far, ((share - 0.7) / 0.3) * 0.6);
}

/** share in [0, 1] from the background to one hue. */
export const sequential = (share: number): Rgb => scaleColor(theme().positive, Math.min(1, Math.max(0, share)));

/** share in [-1, 1]: one hue below zero, another above, the background at zero. */
export const diverging = (share: number): Rgb =>
  scaleColor(share < 0 ? theme().negative : theme().positive, Math.min(1, Math.abs(share)));

const toLinear = (v: number) => Math.pow(v / 255, 2.2);
const luminance = ([r, g, b]: Rgb) => 0.2126 * toLinear(r) + 0.7152 * toLinear(g) + 0.0722 * toLinear(b);

/** Black or white, whichever can be read on the colour. */
export function readableOn(color: Rgb): Rgb {
  return luminance(color) > 0.18 ? [0, 0, 0] : [255, 255, 255];
}
