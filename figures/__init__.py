"""Everything one looks at: pictures, films, pages for a browser."""
