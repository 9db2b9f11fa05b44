"""What the tests of exercises share: the outcome of a check, and many answers at once."""


def outcome(verdict):
    """The code of the mistake; "solved" or "open" if there is none."""
    return verdict.code if verdict.state == "wrong" else verdict.state


def expect(check, cases):
    """Compare what a check makes of {case: (answer, outcome)}."""
    assert {case: outcome(check(answer)) for case, (answer, _) in cases.items()} == {
        case: right for case, (_, right) in cases.items()}


def raises(*_):
    raise LookupError("nothing here")
