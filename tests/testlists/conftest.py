from tests.support.testlists import ana_and_bob  # noqa: F401
