"""What `datasets.py` is made of.

distributions.py  what can be sampled, and its usual kinds
points.py         a user's points, and their units
"""

import machine  # noqa: F401  before MLX, which it makes fast
