"""What the conformance tests share. Importing it makes the harness of tests/integration
importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))
