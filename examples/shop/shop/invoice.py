"""What the customer has to pay, and why."""

from dataclasses import dataclass

from .cart import Cart
from .discount import bulk_discount, member_discount
from .money import percent_of, show

VAT_PERCENT = 19


@dataclass(frozen=True)
class Invoice:
    """The amounts of an invoice, in cents."""

    net: int
    vat: int

    @property
    def total(self) -> int:
        return self.net + self.vat

    def __str__(self) -> str:
        return f"net {show(self.net)}, VAT {show(self.vat)}, total {show(self.total)}"


def invoice(cart: Cart, *, member: bool = False) -> Invoice:
    """The invoice for a cart: discounts first, then the tax on what is left."""
    net = cart.amount - bulk_discount(cart) - member_discount(cart, member=member)
    return Invoice(net=net, vat=percent_of(net, VAT_PERCENT))
