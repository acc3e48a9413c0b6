"""Charts as Vega-Lite specifications, drawn from a comparison; the page and picture files share them."""
