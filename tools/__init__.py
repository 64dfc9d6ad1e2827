"""Small programs around the library: data files, notebooks, the site."""
