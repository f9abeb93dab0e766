"""From a run's folder to tables, figures and the page. Reads files of the folder only; no torch, no store, no plan."""
