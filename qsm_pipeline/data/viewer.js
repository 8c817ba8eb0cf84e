// The interactive viewer: NiiVue draws, the values under the cursor come from the same volumes.
// Where there is no WebGL2, one plane is drawn at a time, from the same volumes.
"use strict";

const OUTSIDE = -32768; // stored where there is no value

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

// Undoes what in_differences of viewer.py did to the numbers behind the header.
function restored(packed) {
  const header = 352, count = (packed.byteLength - header) / 2, bytes = new Uint8Array(packed);
  const buffer = new ArrayBuffer(packed.byteLength), values = new Int16Array(buffer, header);
  new Uint8Array(buffer).set(bytes.subarray(0, header));
  for (let n = 0, value = 0; n < count; n++) {
    const folded = bytes[header + n] | (bytes[header + count + n] << 8);
    values[n] = value += (folded >>> 1) ^ -(folded & 1);
    value = values[n];
  }
  return buffer;
}

// A layer with its numbers, and the way from mm to its voxels.
async function open(layer) {
  const buffer = restored(await unpack(layer.data)), head = new DataView(buffer);
  const size = [1, 2, 3].map((axis) => head.getInt16(40 + 2 * axis, true));
  const rows = [0, 1, 2].map((r) => [0, 1, 2, 3].map((c) => head.getFloat32(280 + 16 * r + 4 * c, true)));
  const [[a, b, c, x], [d, e, f, y], [g, h, i, z]] = rows;
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  const inverse = [
    [e * i - f * h, c * h - b * i, b * f - c * e], [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((v) => v / det));
  const values = new Int16Array(buffer, head.getFloat32(108, true)), slope = head.getFloat32(112, true);
  const toVoxel = (mm) => {
    const p = [mm[0] - x, mm[1] - y, mm[2] - z];
    return inverse.map((row) => Math.round(row[0] * p[0] + row[1] * p[1] + row[2] * p[2]));
  };
  const toMm = (v) => rows.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2] + row[3]);
  const at = (v) => (v.every((n, k) => n >= 0 && n < size[k]) ? values[v[0] + size[0] * (v[1] + size[1] * v[2])] : OUTSIDE);
  return { ...layer, buffer, size, slope, values, toVoxel, toMm, at };
}

class Viewer {
  constructor(root, runs, colours) {
    Object.assign(this, { root, runs, colours });
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.canvas = root.querySelector("canvas");
  }

  async start() {
    await this.prepare();
    for (const name of ["run", "base", "overlay"]) {
      this.part(name).addEventListener("change", () => this.show(name === "run"));
    }
    for (const name of ["low", "high", "opacity"]) this.part(name).addEventListener("input", () => this.restyle());
    this.part("planes").addEventListener("change", () => this.plane());
    this.part("radiological").addEventListener("change", () => this.sides());
    this.part("reset").addEventListener("click", () => this.reset());
    const stage = this.canvas.parentNode;
    // The wheel moves the page until the viewer is clicked or reached by the keyboard.
    const unlessFocused = (event) => { if (document.activeElement !== this.canvas) event.stopPropagation(); };
    stage.addEventListener("wheel", unlessFocused, { capture: true });
    stage.addEventListener("pointerdown", () => this.canvas.focus({ preventScroll: true }));
    stage.addEventListener("keydown", (event) => this.key(event), { capture: true });
    await this.show(true);
    this.root.dataset.ready = "yes";
  }

  key(event) {
    const steps = {
      ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
      PageUp: [0, 0, 1], PageDown: [0, 0, -1],
    };
    const step = steps[event.key];
    if (step) this.move(step);
    else if (event.key === "r") this.reset();
    else if (event.key === "Escape") this.canvas.blur();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  async show(newRun) {
    const run = this.runs[Number(this.part("run").value)];
    if (newRun) {
      this.layers = new Map();
      for (const layer of run.layers) this.layers.set(layer.name, await open(layer));
      const all = [...this.layers.values()];
      this.fill("base", all.filter((l) => l.unit), "chi");
      this.fill("overlay", [{ name: "", label: "none" }, ...all], "");
      this.part("note").textContent = run.note;
    }
    this.base = this.layers.get(this.part("base").value);
    this.over = this.layers.get(this.part("overlay").value);
    if (this.windowOf !== this.base) this.rewindow();
    await this.draw(newRun);
    this.restyle();
  }

  rewindow() {
    [this.part("low").value, this.part("high").value] = this.base.window.map((v) => Number(v.toPrecision(3)));
    this.windowOf = this.base;
  }

  window() {
    const low = Number(this.part("low").value), high = Number(this.part("high").value);
    return low < high ? [low, high] : this.base.window;
  }

  fill(name, layers, chosen) {
    this.part(name).replaceChildren(...layers.map((l) => new Option(l.label, l.name, false, l.name === chosen)));
  }

  // The bars stand below the picture, where they hide nothing.
  restyle() {
    const bars = [[this.base, this.window(), ""]];
    if (this.over && this.over.unit && this.over !== this.base) bars.push([this.over, this.over.window, "-over"]);
    this.part("bars").replaceChildren(...bars.map(([layer, [low, high], kind]) => {
      const table = this.colours[layer.colormap + kind], bar = document.createElement("span"), strip = document.createElement("i");
      const stops = table.I.map((place, n) => `rgb(${table.R[n]} ${table.G[n]} ${table.B[n]} / ${table.A[n] / 255}) ${(place / 2.55).toFixed(1)}%`);
      strip.style.backgroundImage = `linear-gradient(90deg, ${stops})`;
      bar.append(`${layer.label}  ${Number(low.toPrecision(3))}`, strip, `${Number(high.toPrecision(3))} ${layer.unit}`);
      return bar;
    }));
  }

  tell(mm) {
    const place = this.layers.get("chi").toVoxel(mm), chi = this.layers.get("chi");
    const items = [`x ${mm[0].toFixed(1)}, y ${mm[1].toFixed(1)}, z ${mm[2].toFixed(1)} mm`];
    if (chi.at(place) === OUTSIDE) items.push("outside the mask");
    else for (const layer of this.layers.values()) {
      const stored = layer.at(layer.toVoxel(mm)), digits = Math.max(0, Math.ceil(-Math.log10(layer.slope)));
      if (layer.unit && stored !== OUTSIDE) items.push(`${layer.label} ${(stored * layer.slope).toFixed(digits)} ${layer.unit}`);
    }
    if (this.layers.get("untrusted")?.at(place) > 0) items.push("not trusted");
    this.part("values").replaceChildren(...items.map((text, number) => {
      const span = document.createElement(number === 1 ? "strong" : "span");
      span.textContent = text;
      return span;
    }));
    Object.assign(this.root.dataset, { x: mm[0], y: mm[1], z: mm[2] });
  }
}

class Planes extends Viewer {
  async prepare() {
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(
      await unpack(document.getElementById("niivue").textContent.trim()));
    document.head.append(script);
    this.nv = new niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.3, 0.8, 1, 0.8],
      crosshairWidth: 0.6, crosshairWidthUnit: "mm", isForceMouseClickToVoxelCenters: true,
      showAllOrientationMarkers: true, fontMinPx: 15, fontColor: [1, 1, 1, 1],
      dragAndDropEnabled: false, isColorbar: false, isResizeCanvas: true, logLevel: "error",
      multiplanarPadPixels: 24, multiplanarShowRender: niivue.SHOW_RENDER.NEVER, loadingText: "",
    });
    this.nv.onLocationChange = (place) => this.tell([...place.mm].slice(0, 3));
    await this.nv.attachToCanvas(this.canvas);
    this.nv.setInterpolation(true);
    this.nv.setSliceType(this.nv.sliceTypeMultiplanar);
    for (const [name, table] of Object.entries(this.colours)) this.nv.addColormap(`qsm-${name}`, table);
  }

  plane() { this.nv.setSliceType(Number(this.part("planes").value)); }

  sides() { this.nv.setRadiologicalConvention(this.part("radiological").checked); }

  move(step) { this.nv.moveCrosshairInVox(...step); }

  reset() {
    this.rewindow();
    this.nv.setPan2Dxyzmm([0, 0, 0, 1]);
    this.nv.scene.crosshairPos = this.middle(this.base);
    this.restyle();
    this.nv.createOnLocationChange();
  }

  middle(layer) { return layer.size.map((n) => (Math.floor(n / 2) + 0.5) / n); }

  async draw(newRun) {
    const place = newRun ? this.middle(this.base) : [...this.nv.scene.crosshairPos];
    while (this.nv.volumes.length) this.nv.removeVolumeByIndex(this.nv.volumes.length - 1);
    for (const [layer, kind] of [[this.base, ""], [this.over, "-over"]]) {
      if (!layer) continue;
      this.nv.addVolume(await niivue.NVImage.loadFromFile({
        file: new File([layer.buffer], `${layer.name}.nii`), name: `${layer.name}.nii`,
        colormap: `qsm-${layer.colormap}${kind}`, cal_min: layer.window[0], cal_max: layer.window[1],
      }));
    }
    // where an overlay has no value it is zero, and so transparent
    if (this.over) this.nv.volumes[1].img = this.over.values.map((v) => (v === OUTSIDE ? 0 : v));
    this.nv.scene.crosshairPos = place;
    this.nv.createOnLocationChange();
  }

  restyle() {
    super.restyle();
    const [base, over] = this.nv.volumes, [low, high] = this.window(), { slope, values } = this.base;
    // the first colour is black and only for what lies outside of the mask
    [base.cal_min, base.cal_max] = [low - (high - low) / 200, high];
    const lowest = Math.ceil(low / slope), none = Math.floor(base.cal_min / slope) - 1;
    base.img = values.map((v) => (v === OUTSIDE ? none : Math.max(v, lowest)));
    if (over) over.opacity = Number(this.part("opacity").value);
    this.nv.updateGLVolume();
  }
}

// One plane as an image, for browsers without WebGL2.
class Slices extends Viewer {
  async prepare() {
    this.context = this.canvas.getContext("2d");
    this.canvas.classList.add("flat");
    this.part("planes").value = "0";
    this.part("planes").options[0].disabled = true;
    this.canvas.addEventListener("pointerdown", (event) => this.click(event));
    this.canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== this.canvas) return;
      const step = [0, 0, 0];
      step[this.axes()[2]] = Math.sign(event.deltaY);
      this.move(step);
      event.preventDefault();
    });
  }

  plane() { this.restyle(); }

  sides() { this.restyle(); }

  axes() { return [[0, 1, 2], [0, 2, 1], [1, 2, 0]][Number(this.part("planes").value)]; }

  mirrored() { return this.part("radiological").checked && this.axes()[0] === 0; }

  async draw(newRun) { if (newRun) this.place = this.layers.get("chi").size.map((n) => Math.floor(n / 2)); }

  reset() {
    this.rewindow();
    this.draw(true);
    this.restyle();
  }

  move(step) {
    const size = this.layers.get("chi").size;
    this.place = this.place.map((n, k) => Math.min(size[k] - 1, Math.max(0, n + step[k])));
    this.restyle();
  }

  click(event) {
    const box = this.canvas.getBoundingClientRect(), [across, up] = this.axes();
    const scale = Math.min(box.width / this.canvas.width, box.height / this.canvas.height);
    const column = Math.floor((event.clientX - box.left - (box.width - scale * this.canvas.width) / 2) / scale);
    const line = Math.floor((event.clientY - box.top - (box.height - scale * this.canvas.height) / 2) / scale);
    if (column < 0 || line < 0 || column >= this.canvas.width || line >= this.canvas.height) return;
    this.place[across] = this.mirrored() ? this.canvas.width - 1 - column : column;
    this.place[up] = this.canvas.height - 1 - line;
    this.restyle();
  }

  restyle() {
    super.restyle();
    const chi = this.layers.get("chi"), [across, up] = this.axes(), mirrored = this.mirrored();
    const width = (this.canvas.width = chi.size[across]), height = (this.canvas.height = chi.size[up]);
    const image = this.context.createImageData(width, height), place = [...this.place];
    const opacity = Number(this.part("opacity").value);
    const layers = [[this.base, this.window(), "", 1]];
    if (this.over) layers.push([this.over, this.over.window, "-over", opacity]);
    for (let line = 0; line < height; line++) for (let column = 0; column < width; column++) {
      place[across] = mirrored ? width - 1 - column : column;
      place[up] = height - 1 - line;
      const at = 4 * (column + width * line), mm = chi.toMm(place);
      image.data[at + 3] = 255;
      for (const [layer, [low, high], kind, share] of layers) {
        const stored = layer.at(layer === chi ? place : layer.toVoxel(mm));
        if (stored === OUTSIDE) continue;
        const table = this.colours[layer.colormap + kind], last = table.I.length - 1;
        const share01 = Math.min(1, Math.max(0, (stored * layer.slope - low) / (high - low)));
        const n = Math.max(kind ? 0 : 1, Math.round(last * share01));
        const part = share * (table.A[n] / 255);
        for (const [k, key] of ["R", "G", "B"].entries()) image.data[at + k] += part * (table[key][n] - image.data[at + k]);
      }
    }
    this.context.putImageData(image, 0, 0);
    this.part("sides").textContent = across === 0 ? (mirrored ? "left of the picture: R" : "left of the picture: L") : "left of the picture: P";
    this.tell(chi.toMm(this.place));
  }
}

const viewerRoot = document.querySelector(".viewer");
if (viewerRoot) {
  const parsed = (id) => JSON.parse(document.getElementById(id).textContent);
  const failed = (error) => {
    viewerRoot.querySelector('[data-part="values"]').textContent =
      `The viewer cannot run in this browser (${error.message}). The figures below show the same.`;
  };
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    const able = document.createElement("canvas").getContext("webgl2");
    viewerRoot.dataset.kind = able ? "planes" : "slices";
    viewerRoot.viewer = new (able ? Planes : Slices)(viewerRoot, parsed("volumes"), parsed("colours"));
    viewerRoot.viewer.start().catch(failed);
  }, { rootMargin: "200px" }).observe(viewerRoot);
}

// What the page folds is printed too.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details.kept")) folded.open = true;
});

// A figure fills the window when it is clicked; Escape or another click brings the page back.
const large = document.getElementById("large");
const enlarge = (image) => {
  Object.assign(large.querySelector("img"), { src: image.src, alt: image.alt });
  large.showModal();
};
for (const button of document.querySelectorAll("button.enlarge")) {
  button.addEventListener("click", () => enlarge(button.querySelector("img")));
}
large?.addEventListener("click", () => large.close());

for (const box of document.querySelectorAll(".flicker")) {
  const [first, second] = box.querySelectorAll("img");
  const label = box.querySelector("b");
  const [button, larger] = box.nextElementSibling.querySelectorAll("button");
  const shown = () => (getComputedStyle(second).opacity === "1" ? second : first);
  setInterval(() => { label.textContent = shown().alt; }, 100);
  larger.addEventListener("click", () => enlarge(shown()));
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    box.click();
  });
  button.addEventListener("click", () => {
    box.classList.toggle("playing");
    button.textContent = box.classList.contains("playing") ? "Stop" : "Play";
  });
  box.addEventListener("click", () => {
    box.classList.remove("playing");
    box.classList.toggle("second");
    button.textContent = "Play";
  });
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) button.click();
}
