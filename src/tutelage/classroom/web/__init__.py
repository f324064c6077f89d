"""The classroom as seen by a browser: pages, forms and images over HTTP."""
