"""What a network is made of, and how it learns.

layers.py      activations, and the linear algebra between them
optimizers.py  how weights follow their gradients
"""

import machine  # noqa: F401  before MLX, which it makes fast
