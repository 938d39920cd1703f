// Browsers give pages from disk no workers, and the search needs one: there it is hidden.
if (location.protocol === "file:")
  for (const node of document.querySelectorAll(".md-search, [for=__search]")) node.style.display = "none";
