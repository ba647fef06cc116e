"""A page in the browser that shows what a served model does; `export.page` is its program."""
