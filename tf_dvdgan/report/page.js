"use strict";
// Videos play while they are visible, unless the reader prefers reduced motion.
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
const toggleAll = document.getElementById("all");
const videos = [...document.querySelectorAll("video")];
const visible = new Set();
const enabled = new Set(); // videos that the reader has not paused

function update(video) {
  const playing = enabled.has(video);
  const screen = video.parentElement;
  screen.classList.toggle("paused", !playing);
  const button = screen.querySelector("button");
  const label = video.getAttribute("aria-label");
  button.setAttribute("aria-label", (playing ? "Pause: " : "Play: ") + label);
  if (playing && visible.has(video)) video.play().catch(() => {});
  else video.pause();
}

function setPlaying(some, playing) {
  for (const video of some) {
    if (playing) enabled.add(video);
    else enabled.delete(video);
    update(video);
  }
  toggleAll.textContent = enabled.size ? "Pause videos" : "Play videos";
}

const observer = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) visible.add(target);
    else visible.delete(target);
    update(target);
  }
});
for (const video of videos) {
  video.controls = false; // only for browsers without scripts
  const button = video.parentElement.querySelector("button");
  button.hidden = false;
  button.addEventListener("click", () => setPlaying([video], !enabled.has(video)));
  observer.observe(video);
}
toggleAll.hidden = videos.length === 0;
toggleAll.addEventListener("click", () => setPlaying(videos, !enabled.size));
reducedMotion.addEventListener("change", () => {
  setPlaying(videos, !reducedMotion.matches);
});
setPlaying(videos, !reducedMotion.matches);
