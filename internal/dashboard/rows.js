"use strict";

const element = (id) => document.getElementById(id);

// show writes a text where it differs, so that nothing moves and no selection is lost for nothing.
function show(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// make returns an element with a class and a text, or with children.
function make(tag, className, ...content) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...content);
  return node;
}

// cell returns a table's cell; on a phone, where rows are cards, its label stands beside it.
function cell(label, className, ...content) {
  const node = make("td", className, ...content);
  node.dataset.label = label;
  return node;
}

const backendCell = (pool, address) => cell("Backend", "mono", make("span", "", make("span", "quiet", pool + " "), address));

// fill makes the children of a parent those of the items, in their order: one that is there stays, with its focus. Each is known by
// its key; build makes one, update writes what changes.
function fill(parent, items, keyOf, build, update) {
  const there = new Map(Array.from(parent.children, (node) => [node.dataset.key, node]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = there.get(key);
    if (node) {
      there.delete(key);
    } else {
      node = build(item);
      node.dataset.key = key;
    }
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of there.values()) node.remove();
}

// describe fills a list of terms.
function describe(list, terms) {
  list.replaceChildren(...terms.map(([term, text]) => make("div", "", make("dt", "", term), make("dd", "", text))));
}

// note tells for some seconds what came of an action.
function note(kind, text) {
  const node = make("p", "", text);
  node.dataset.kind = kind;
  element("notes").append(node);
  setTimeout(() => node.remove(), 6000);
}
