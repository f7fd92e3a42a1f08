"""`python -m tests.support.models`."""

import sys

from tests.support.models import main

sys.exit(main())
