"""Amounts of money as whole cents."""


def percent_of(cents: int, percent: int) -> int:
    """That many percent of an amount, rounded half up to a whole cent."""
    return cents * percent // 100


def show(cents: int) -> str:
    """An amount for people: 1999 is 19.99."""
    return f"{cents // 100}.{cents % 100:02d}"
