// The interactive viewer: NiiVue draws, the values under the cursor come from the same volumes.
"use strict";

const OUTSIDE = -32768; // stored where there is no value

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

class Viewer {
  constructor(root, runs) {
    this.root = root;
    this.runs = runs;
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
  }

  async start() {
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(
      await unpack(document.getElementById("niivue").textContent.trim()));
    document.head.append(script);
    this.canvas = this.root.querySelector("canvas");
    this.nv = new niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.3, 0.8, 1, 0.8],
      crosshairWidth: 0.6, crosshairWidthUnit: "mm", isForceMouseClickToVoxelCenters: true,
      isCornerOrientationText: true, fontMinPx: 15, fontColor: [1, 1, 1, 1],
      dragAndDropEnabled: false, isColorbar: true, isResizeCanvas: true, logLevel: "error",
      multiplanarShowRender: niivue.SHOW_RENDER.NEVER, loadingText: "",
    });
    this.nv.onLocationChange = (place) => this.tell(place);
    await this.nv.attachToCanvas(this.canvas);
    this.nv.setInterpolation(true);
    this.nv.setSliceType(this.nv.sliceTypeMultiplanar);
    for (const name of ["run", "base", "overlay"]) {
      this.part(name).addEventListener("change", () => this.show(name === "run"));
    }
    for (const name of ["low", "high", "opacity"]) {
      this.part(name).addEventListener("input", () => this.restyle());
    }
    this.part("planes").addEventListener("change", (event) => this.nv.setSliceType(Number(event.target.value)));
    await this.show(true);
    this.root.dataset.ready = "yes";
  }

  async show(newRun) {
    const run = this.runs[Number(this.part("run").value)];
    if (newRun) {
      this.layers = new Map();
      for (const layer of run.layers) {
        const buffer = await unpack(layer.data);
        const head = new DataView(buffer);
        this.layers.set(layer.name, {
          ...layer, buffer,
          size: [1, 2, 3].map((axis) => head.getInt16(40 + 2 * axis, true)),
          slope: head.getFloat32(112, true),
          values: new Int16Array(buffer, head.getFloat32(108, true)),
        });
      }
      this.fill("base", [...this.layers.values()].filter((l) => l.unit), "chi");
      this.fill("overlay", [{ name: "", label: "none" }, ...this.layers.values()], "");
      this.part("note").textContent = run.note;
    }
    const base = this.layers.get(this.part("base").value);
    const over = this.layers.get(this.part("overlay").value);
    if (this.shown !== base) {
      [this.part("low").value, this.part("high").value] = base.window;
      this.shown = base;
    }
    const place = newRun ? base.size.map((n) => (Math.floor(n / 2) + 0.5) / n) : [...this.nv.scene.crosshairPos];
    while (this.nv.volumes.length) this.nv.removeVolumeByIndex(this.nv.volumes.length - 1);
    for (const layer of [base, over]) {
      if (!layer) continue;
      this.nv.addVolume(await niivue.NVImage.loadFromFile({
        file: new File([layer.buffer], `${layer.name}.nii`), name: `${layer.name}.nii`,
        colormap: layer.colormap, cal_min: layer.window[0], cal_max: layer.window[1],
      }));
    }
    this.nv.scene.crosshairPos = place;
    this.restyle();
    this.nv.createOnLocationChange();
  }

  fill(name, layers, chosen) {
    this.part(name).replaceChildren(...layers.map((l) => new Option(l.label, l.name, false, l.name === chosen)));
  }

  restyle() {
    const [base, over] = this.nv.volumes;
    const low = Number(this.part("low").value), high = Number(this.part("high").value);
    if (low < high) [base.cal_min, base.cal_max] = [low, high];
    if (over) {
      over.colorbarVisible = Boolean(this.layers.get(this.part("overlay").value).unit);
      over.opacity = Number(this.part("opacity").value);
    }
    this.nv.updateGLVolume();
  }

  tell(place) {
    const [i, j, k] = place.vox.map(Math.round);
    const chi = this.layers.get("chi");
    const index = i + chi.size[0] * (j + chi.size[1] * k);
    const items = [`x ${place.mm[0].toFixed(1)}, y ${place.mm[1].toFixed(1)}, z ${place.mm[2].toFixed(1)} mm`];
    if (chi.values[index] === OUTSIDE) items.push("outside the mask");
    else for (const layer of this.layers.values()) {
      const digits = Math.max(0, Math.ceil(-Math.log10(layer.slope)));
      if (layer.unit) items.push(`${layer.label} ${(layer.values[index] * layer.slope).toFixed(digits)} ${layer.unit}`);
    }
    const spans = items.map((text, number) => {
      const span = document.createElement(number === 1 ? "strong" : "span");
      span.textContent = text;
      return span;
    });
    this.part("values").replaceChildren(...spans);
    Object.assign(this.root.dataset, { x: place.mm[0], y: place.mm[1], z: place.mm[2] });
  }
}

const viewerRoot = document.querySelector(".viewer");
if (viewerRoot) {
  const failed = (error) => {
    viewerRoot.querySelector('[data-part="values"]').textContent =
      `The viewer cannot run in this browser (${error.message}); it needs WebGL2. The figures below show the same.`;
  };
  const runs = JSON.parse(document.getElementById("volumes").textContent);
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    new Viewer(viewerRoot, runs).start().catch(failed);
  }, { rootMargin: "200px" }).observe(viewerRoot);
}

for (const box of document.querySelectorAll(".flicker")) {
  const [first, second] = box.querySelectorAll("img");
  const label = box.querySelector("b");
  const button = box.nextElementSibling.querySelector("button");
  const tell = () => {
    label.textContent = (getComputedStyle(second).opacity === "1" ? second : first).alt;
  };
  setInterval(tell, 100);
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
