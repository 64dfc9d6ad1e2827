// The page of claims: show the rows that are asked for, and unfold the one that a link points to. Without this, all are there.
const filter = document.getElementById("filter");
const rows = [...document.querySelectorAll("tr[data-verdict]")];
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let box = target; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
  if (target) target.scrollIntoView();
};
const apply = (event) => {
  const asked = (name) => [...filter.querySelectorAll(`[name=${name}]:checked`)].map((box) => box.value);
  const verdicts = asked("verdict"), sources = asked("from");
  for (const row of rows) row.hidden = !(verdicts.includes(row.dataset.verdict) && sources.includes(row.dataset.from));
  const all = !filter.querySelector("input:not(:checked)");
  for (const box of document.querySelectorAll("details.experiment")) {
    const here = [...box.querySelectorAll("tr[data-verdict]")], shown = here.filter((row) => !row.hidden).length;
    const said = box.querySelector("summary small");
    said.dataset.all ??= said.textContent;
    said.textContent = all ? said.dataset.all : `${shown} of ${here.length} shown`;
    box.hidden = !shown;
    if (event) box.open = !all && shown > 0;
  }
  filter.querySelector("output").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
};
if (filter) {
  filter.hidden = false;
  filter.addEventListener("change", apply);
  addEventListener("hashchange", unfold);
  apply();
  unfold();
}
