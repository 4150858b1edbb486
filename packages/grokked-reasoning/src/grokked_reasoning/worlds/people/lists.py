"""What people are called, where they live and work, and who they know: lists composed of made-up syllables.

Names of people and places come apart into tokens that people share, so a vocabulary stays small however many there are.
"""

from datetime import date
from itertools import product


def _joined(heads: str, tails: str) -> tuple[str, ...]:
    return tuple(head + tail for head, tail in product(heads.split(), tails.split()))


GIVEN = _joined("Mar Bel Cor Dar Fen Jor Kel Lin Ros Tam", "a ian ena or is wyn ette ulo ica eth")
"""First and middle names."""
LAST = _joined(
    "Ash Brack Cold Dun Eld Farn Glen Hart Iver Kirk Lang Mill North Oak Pem Red Stan Thorn Whit York",
    "ford ley wick worth man stead by ham well more",
)
CITIES = _joined(
    "Karra Wolla Bunda Yarra Narra Gunda Murra Cooma Tooga Walla Ballan Cara Moora Nambu Warra Kunda Dalga Goola Tarra "
    "Mirra",
    "bool gong berg mundi wong nook dale ville pool rook",
)
UNIVERSITIES = _joined("Han Bei Lian Shen Wu Jin Nan Qing Zhe Guan", "shan jing zhou dong yang hai chuan ning hua lin")
EMPLOYERS = _joined("Pra Vish Anan Suri Kal Ind Bhar Jay Tej Neel", "vat wara dco tech yanol ratna corp mart line gen")
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2099, 12, 31)
DAYS = (LAST_DAY - FIRST_DAY).days + 1
"""Every day of two hundred years: 73,049."""
NAMES = len(GIVEN) * len(GIVEN) * len(LAST)
"""Names that a person can have: 2,000,000."""

RELATIONS = (
    "parent", "child", "best_friend", "worst_enemy", "sibling", "spouse", "cousin", "grandparent", "grandchild",
    "business_partner", "protege", "mentor", "betrayer", "debtor", "blackmailer", "hero", "evil_twin",
)  # fmt: skip
PROPERTIES = ("birth_date", "birth_city", "university", "employer")
SUBJECTS = RELATIONS + PROPERTIES
"""What can be asked of a person. The first 17 lead to another person, of whom the same can be asked."""
