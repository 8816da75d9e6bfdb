"""Everything one looks at: pictures, films, pages for a browser."""

import machine  # noqa: F401  before MLX, which it makes fast
