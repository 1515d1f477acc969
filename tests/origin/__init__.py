"""A scripted origin in the Hugging Face Hub's shape, to test a mirror against without a network."""

from tests.origin.content import Entry, Sparse
from tests.origin.faults import Armed, Fault
from tests.origin.log import Seen
from tests.origin.origin import Origin
from tests.origin.repos import Repo

__all__ = ["Armed", "Entry", "Fault", "Origin", "Repo", "Seen", "Sparse"]
