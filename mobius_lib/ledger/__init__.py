"""The ledger: what the sources say (claims), how it is measured (checks), and what came out (verdicts)."""

from mobius_lib.ledger.base import LedgerError
from mobius_lib.ledger.claims import Claim, load_claims
from mobius_lib.ledger.page import show, stands_here
from mobius_lib.ledger.verdicts import Verdict, judge

__all__ = ["Claim", "LedgerError", "Verdict", "judge", "load_claims", "show", "stands_here"]
