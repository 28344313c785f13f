import sys

from tiny_project import ROOT

sys.path.insert(0, str(ROOT / "tests" / "methods"))  # dying.py lies beside the tests of methods
