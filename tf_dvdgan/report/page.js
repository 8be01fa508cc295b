"use strict";
// Videos play while they are on the screen, unless the reader wants things to be still.
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const all = document.getElementById("all");
const films = [...document.querySelectorAll("video")];
const seen = new Set();

function update(film) {
  const wanted = film.dataset.wanted === "yes";
  const screen = film.parentElement;
  screen.classList.toggle("paused", !wanted);
  const button = screen.querySelector("button");
  const what = film.getAttribute("aria-label");
  button.setAttribute("aria-label", (wanted ? "Pause: " : "Play: ") + what);
  if (wanted && seen.has(film)) film.play().catch(() => {});
  else film.pause();
}

function want(some, playing) {
  for (const film of some) {
    film.dataset.wanted = playing ? "yes" : "no";
    update(film);
  }
  const any = films.some((film) => film.dataset.wanted === "yes");
  all.textContent = any ? "Pause videos" : "Play videos";
  all.dataset.any = any ? "yes" : "no";
}

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) seen.add(entry.target);
    else seen.delete(entry.target);
    update(entry.target);
  }
});
for (const film of films) {
  film.controls = false; // they are for readers without scripts
  const button = film.parentElement.querySelector("button");
  button.hidden = false;
  button.addEventListener("click", () => want([film], film.dataset.wanted !== "yes"));
  watcher.observe(film);
}
all.hidden = films.length === 0;
all.addEventListener("click", () => want(films, all.dataset.any !== "yes"));
calm.addEventListener("change", () => want(films, !calm.matches));
want(films, !calm.matches);
