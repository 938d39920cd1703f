// What a network takes, from a camera, an image or a file of numbers.

/** An image as a network takes it: the largest centred box of its aspect, resized; RGB or grey, 0..255, row by row. */
export function ofImage(source, shape, canvas) {
  const [height, width, channels] = shape;
  const wide = source.videoWidth || source.naturalWidth || source.width;
  const high = source.videoHeight || source.naturalHeight || source.height;
  const w = Math.min(wide, (high * width) / height);
  const h = Math.min(high, (wide * height) / width);
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.fillStyle = "white";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(source, (wide - w) / 2, (high - h) / 2, w, h, 0, 0, width, height);
  const picture = pen.getImageData(0, 0, width, height);
  const values = numbers(picture.data, channels);
  if (channels === 1) show(pen, picture, values);
  return values;
}

/** The numbers of a file, `.npy` or rows of text; as many as the shape has. Raises `Error` in one line. */
export async function ofFile(file, shape) {
  const content = await file.arrayBuffer();
  const values = file.name.endsWith(".npy") ? ofNpy(content) : ofText(new TextDecoder().decode(content));
  const count = shape.reduce((a, b) => a * b, 1);
  if (values.length !== count) {
    throw new Error(`${file.name} has ${values.length} numbers; this network takes ${shape.join(" x ")}`);
  }
  return values;
}

/** A line a channel of a signal `(t, c)`, or the first channel of a grid `(h, w, c)` in shades. */
export function draw(values, shape, canvas, colours) {
  return shape.length === 2 ? drawLines(values, shape, canvas, colours) : drawShades(values, shape, canvas);
}

function numbers(rgba, channels) {
  const count = rgba.length / 4;
  const values = new Float32Array(count * channels);
  for (let n = 0; n < count; n += 1) {
    const [r, g, b] = rgba.subarray(4 * n, 4 * n + 3);
    if (channels === 1) values[n] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
    else values.set([r, g, b], 3 * n);
  }
  return values;
}

function show(pen, picture, values) {
  values.forEach((value, n) => picture.data.fill(value, 4 * n, 4 * n + 3));
  pen.putImageData(picture, 0, 0);
}

function ofText(text) {
  const rows = text.split(/\r?\n/).filter((row) => row.trim());
  const cells = rows.map((row) => row.trim().split(/[,;\s]+/).map(Number));
  const named = cells.length && cells[0].some(Number.isNaN) ? 1 : 0; // a first line of names
  const values = Float32Array.from(cells.slice(named).flat());
  if (values.some(Number.isNaN)) throw new Error("the file holds words among its numbers");
  return values;
}

function ofNpy(content) {
  const view = new DataView(content);
  if (content.byteLength < 12 || view.getUint32(0) !== 0x934e554d) throw new Error("this is no .npy file");
  const long = view.getUint8(6) > 1;
  const start = (long ? 12 : 10) + (long ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = new TextDecoder("latin1").decode(content.slice(0, start));
  const kind = /'descr': '([^']*)'/.exec(header)?.[1];
  const arrays = { "<f4": Float32Array, "<f8": Float64Array, "|u1": Uint8Array, "|i1": Int8Array, "<i2": Int16Array };
  if (!(kind in arrays) || header.includes("'fortran_order': True")) {
    throw new Error(`numbers of ${kind} are not read here; save them by numpy.save(name, x.astype("float32"))`);
  }
  return Float32Array.from(new arrays[kind](content.slice(start)));
}

function drawLines(values, [steps, channels], canvas, colours) {
  canvas.width = 480;
  canvas.height = 240;
  const pen = canvas.getContext("2d");
  const [low, high] = ends(values);
  for (let channel = 0; channel < channels; channel += 1) {
    pen.strokeStyle = colours[channel % colours.length];
    pen.lineWidth = 2;
    pen.beginPath();
    for (let step = 0; step < steps; step += 1) {
      const height = (values[step * channels + channel] - low) / (high - low || 1);
      pen.lineTo((step / Math.max(1, steps - 1)) * canvas.width, (1 - height) * (canvas.height - 8) + 4);
    }
    pen.stroke();
  }
}

function drawShades(values, [height, width, channels], canvas) {
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  const [low, high] = ends(values);
  const picture = pen.createImageData(width, height);
  for (let n = 0; n < width * height; n += 1) {
    const shade = Math.round((255 * (values[n * channels] - low)) / (high - low || 1));
    picture.data.set([shade, shade, shade, 255], 4 * n);
  }
  pen.putImageData(picture, 0, 0);
}

function ends(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}
