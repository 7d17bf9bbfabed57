/* Charts of the last hour, in SVG: lines over time with a readout per point.

   Rules: a chart creates its elements once and then changes only their attributes, so a page left
   open for a day does not grow. A missing value is a gap in the line. The x axis begins at the first
   sample and grows to the full range. Times are seconds since the epoch, of the gate's clock. */
window.gatekeeperChart = (() => {
  "use strict";

  const WIDTH = 600, HEIGHT = 100;
  const GAP_S = 20;       // a longer time without a sample is a gap in the line
  const MIN_SPAN_S = 60;  // the shortest x axis
  const SECONDS_BELOW_S = 300; // a shorter x axis is labelled with seconds
  const SVG = "http://www.w3.org/2000/svg";
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
  const finest = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const second = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

  const tenths = (value) => Math.round(value * 10) / 10;
  const number = (value) => (Math.abs(value) < 10 ? fine : whole).format(value);

  function duration(seconds) {
    if (seconds === 0) return "0";
    if (seconds < 1) return finest.format(seconds * 1000) + " ms";
    if (seconds < 90) return fine.format(seconds) + " s";
    if (seconds < 5400) return fine.format(seconds / 60) + " min";
    return fine.format(seconds / 3600) + " h";
  }

  /* The round number at the top of an axis. */
  function roundUp(most) {
    const power = Math.pow(10, Math.floor(Math.log10(most)));
    return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= most * 0.999);
  }

  function roundDuration(most) {
    const steps = [1, 2, 4, 10, 20, 40, 60, 120, 240, 600, 1200, 2400, 3600, 7200, 14400, 28800, 86400];
    if (most === 0) return 1;
    return most <= 1 ? roundUp(most) : steps.find((step) => step >= most) || most;
  }

  /* `plan` is { title, explains, kind: "number" | "duration", unit, series: [[name, words], …] };
     the area below the first series is filled. */
  function makeChart(plan) {
    const figure = document.getElementById("chart").content.firstElementChild.cloneNode(true);
    const find = (selector) => figure.querySelector(selector);
    const svg = find("svg");
    const box = find(".chart");
    const format = plan.kind === "duration" ? duration : number;
    const paths = {};
    let rows = [];      // [seconds, { name: value }]
    let until = 0, span = 3600, top = 1;
    let at = null;      // seconds at the pointer
    let shown = [];     // marks within the x axis: { at, words }

    find("b").textContent = plan.title;
    find(".explains").textContent = plan.explains;
    const area = draw("area " + plan.series[0][0]);
    plan.series.slice().reverse().forEach(([name]) => { paths[name] = draw("line " + name); });
    plan.series.forEach(([name, words]) => {
      const key = document.createElement("span");
      key.className = "key " + name;
      key.textContent = words;
      find(".keys").append(key);
    });
    svg.append(find(".pointer"));

    function draw(name) {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", name);
      svg.append(path);
      return path;
    }

    const x = (seconds) => WIDTH - (until - seconds) / span * WIDTH;
    const y = (value) => HEIGHT - value / top * HEIGHT;

    /* Draws `samples`, [seconds, { name: value }] from old to new, up to `now`. The x axis begins
       at `first`, the oldest sample of all charts, or `range` seconds ago. */
    function show(samples, { now, first, range, marks }) {
      until = now;
      span = Math.min(range, Math.max(now - first, MIN_SPAN_S));
      rows = samples.filter((row) => row[0] >= until - span && row[0] > until - range);
      shown = marks.filter((mark) => mark.at > until - span && mark.at <= until);
      let most = 0;
      rows.forEach((row) => plan.series.forEach(([name]) => { most = Math.max(most, row[1][name] || 0); }));
      top = plan.kind === "duration" ? roundDuration(most) : roundUp(Math.max(most, 2));
      find(".top").textContent = format(top);
      find(".half").textContent = format(top / 2);
      const time = span < SECONDS_BELOW_S ? second : clock;
      find(".then").textContent = time.format((until - span) * 1000);
      find(".mid").textContent = time.format((until - span / 2) * 1000);
      plan.series.forEach(([name]) => paths[name].setAttribute("d", line(name)));
      area.setAttribute("d", filled(paths[plan.series[0][0]].getAttribute("d")));
      find(".marks").setAttribute("d", shown.map((mark) => "M" + x(mark.at).toFixed(1) + " 0V100").join(""));
      box.setAttribute("aria-label", plan.title + ". " + words(rows[rows.length - 1]));
      read();
    }

    /* One sub-path for each stretch without a gap; a stretch of one sample is a dot. */
    function line(name) {
      const drawn = [];
      let before = null;
      rows.forEach((row) => {
        const value = row[1][name];
        if (value === null || value === undefined) {
          before = null;
          return;
        }
        const joined = before !== null && row[0] - before < GAP_S;
        const point = tenths(x(row[0])) + " " + tenths(y(value));
        drawn.push((joined ? "L" : "M" + point + "L") + point);
        before = row[0];
      });
      return drawn.join("");
    }

    function filled(path) {
      return path.split("M").filter((stretch) => stretch).map((stretch) => {
        const points = stretch.split("L");
        const first = points[0].split(" ")[0];
        const last = points[points.length - 1].split(" ")[0];
        return "M" + stretch + "L" + last + " 100L" + first + " 100Z";
      }).join("");
    }

    function words(row) {
      if (!row) return "No data yet.";
      return plan.series.map(([name, label]) => {
        const value = row[1][name];
        return value === null || value === undefined ? null : label + " " + format(value) + (plan.unit || "");
      }).filter((each) => each).join(", ") || "No data.";
    }

    function nearest(seconds) {
      return rows.reduce((best, row) => (
        !best || Math.abs(row[0] - seconds) < Math.abs(best[0] - seconds) ? row : best), null);
    }

    function read() {
      const row = at === null ? null : nearest(at);
      const pointer = row && row[0] >= until - span ? "M" + x(row[0]).toFixed(1) + " 0V100" : "";
      find(".pointer").setAttribute("d", pointer);
      if (!row) {
        const empty = rows.every((each) => plan.series.every(([name]) => typeof each[1][name] !== "number"));
        find(".reading").textContent = empty ? "No data for this time." : "";
        return;
      }
      const near = shown.filter((mark) => Math.abs(mark.at - row[0]) <= span / 120).map((mark) => mark.words);
      find(".reading").textContent = [second.format(row[0] * 1000) + ": " + words(row), ...near].join(" · ");
    }

    function point(event) {
      const frame = svg.getBoundingClientRect();
      at = until - (1 - Math.min(Math.max((event.clientX - frame.left) / frame.width, 0), 1)) * span;
      read();
    }

    function leave() {
      at = null;
      read();
    }

    function step(event) {
      const moves = { ArrowLeft: -span / 60, ArrowRight: span / 60, Home: -span, End: span };
      if (event.key === "Escape") leave();
      if (!(event.key in moves)) return;
      event.preventDefault();
      at = Math.min(Math.max((at === null ? until : at) + moves[event.key], until - span), until);
      read();
    }

    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    box.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") leave(); });
    box.addEventListener("keydown", step);
    box.addEventListener("blur", leave);
    return { figure, show };
  }

  return { makeChart, duration, number, second };
})();
