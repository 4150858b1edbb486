import actkit
import pytest
from specimens import families, planted


@pytest.fixture(scope="session")
def tiny() -> actkit.Model:
    """A random three-layer Llama with a tokenizer."""
    return actkit.load(families.tiny_model("llama"), tokenizer=families.tiny_tokenizer())


@pytest.fixture(scope="session")
def bare() -> actkit.Model:
    """The same without a tokenizer."""
    return actkit.load(families.tiny_model("llama"))


@pytest.fixture(scope="session")
def reciter() -> actkit.Model:
    """A planted model: it recites `planted.CHAIN` after `planted.PROMPT`."""
    return actkit.load(planted.planted_model(), tokenizer=planted.tokenizer())
