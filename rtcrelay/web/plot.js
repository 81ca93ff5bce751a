// One strip of the plot: a figure over the last two minutes, as SVG, which follows the colours of the page.

export const SAMPLES = 120;
const HEIGHT = 40;

export class Strip {
  // `figure` holds an <svg>, a .now and a .top. Each series is (sample) => number or null; `least` is the smallest
  // scale, so that a quiet line stays low.
  constructor(figure, { name, series, least, unit }) {
    Object.assign(this, { name, series, least, unit });
    this.svg = figure.querySelector("svg");
    this.now = figure.querySelector(".now");
    this.top = figure.querySelector(".top");
    this.svg.setAttribute("viewBox", `0 0 ${SAMPLES - 1} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.marks = this.#add("mark");
    this.lines = series.map((_, index) => this.#add(`line line-${index}`));
  }

  // `samples` oldest first, at most SAMPLES of them; the newest is at the right edge.
  draw(samples) {
    const values = this.series.map((read) => samples.map(read));
    const known = values.flat().filter((value) => value !== null);
    const top = roundUp(Math.max(this.least, ...known));
    const x = (index) => SAMPLES - samples.length + index;
    this.lines.forEach((line, index) => line.setAttribute("d", path(values[index], x, top)));
    this.marks.setAttribute("d", samples.map((s, i) => (s.isNewCall ? `M${x(i)} 0V${HEIGHT}` : "")).join(""));
    this.now.textContent = values.map((series) => this.unit(series.at(-1) ?? null)).join(" / ");
    this.top.textContent = this.unit(top);
    this.svg.setAttribute("aria-label", this.#describe(values));
  }

  #describe(values) {
    const known = values.map((series) => series.filter((value) => value !== null));
    if (known.every((series) => !series.length)) return `${this.name}: nothing measured yet`;
    const range = (series) => `${this.unit(Math.min(...series))} to ${this.unit(Math.max(...series))}`;
    const ranges = known.map((series) => (series.length ? range(series) : "not known"));
    return `${this.name} over ${values[0].length} seconds: ${ranges.join("; ")}`;
  }

  #add(name) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", "path");
    element.setAttribute("class", name);
    this.svg.append(element);
    return element;
  }
}

// A line with gaps where nothing is known.
function path(values, x, top) {
  let pen = "M";
  let text = "";
  values.forEach((value, index) => {
    if (value === null) return void (pen = "M");
    const y = (HEIGHT - 1 - (value / top) * (HEIGHT - 2)).toFixed(2);
    // A single point is drawn as a short stroke: a line of no length is invisible.
    text += pen === "M" ? `M${x(index) - 0.5} ${y}L${x(index)} ${y}` : `L${x(index)} ${y}`;
    pen = "L";
  });
  return text;
}

// The next of 1, 2, 5, 10, 20, 50, ...
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}
