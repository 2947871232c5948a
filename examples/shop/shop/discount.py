"""Who pays less, and by how much."""

from .cart import Cart
from .money import percent_of

BULK_QUANTITY = 10
BULK_PERCENT = 5
MEMBER_PERCENT = 10


def bulk_discount(cart: Cart) -> int:
    """Lines of ten and more are five percent cheaper."""
    return sum(
        percent_of(line.amount, BULK_PERCENT)
        for line in cart.lines
        if line.quantity >= BULK_QUANTITY
    )


def member_discount(cart: Cart, *, member: bool) -> int:
    """Members pay ten percent less of what is left."""
    return percent_of(cart.amount - bulk_discount(cart), MEMBER_PERCENT) if member else 0
