// The last minute of a number as a small line.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 120;
const HEIGHT = 32;
const POINTS = 60;

export class Sparkline {
  values = [];

  constructor() {
    this.element = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "spark", "aria-hidden": "true", preserveAspectRatio: "none" });
    this.area = make("path", { class: "spark-area" });
    this.line = make("path", { class: "spark-line" });
    this.element.append(this.area, this.line);
  }

  add(value) {
    this.values = [...this.values, value].slice(-POINTS);
    const top = Math.max(...this.values, 1e-9);
    const points = this.values.map((v, index) => {
      const x = WIDTH - (this.values.length - 1 - index) * (WIDTH / (POINTS - 1));
      return `${x.toFixed(1)} ${(HEIGHT - 2 - (v / top) * (HEIGHT - 5)).toFixed(1)}`;
    });
    const first = points[0].split(" ")[0];
    this.line.setAttribute("d", `M${points.join("L")}`);
    this.area.setAttribute("d", `M${points.join("L")}L${WIDTH} ${HEIGHT}L${first} ${HEIGHT}Z`);
  }
}

function make(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}
