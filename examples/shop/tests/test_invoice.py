import unittest

from shop.cart import Cart
from shop.invoice import invoice


class InvoiceTest(unittest.TestCase):
    def test_tax_comes_on_top(self):
        cart = Cart()
        cart.add("lamp", 10000)
        self.assertEqual("net 100.00, VAT 19.00, total 119.00", str(invoice(cart)))

    def test_half_a_cent_of_tax_is_rounded_up(self):
        cart = Cart()
        cart.add("pencil", 150)
        self.assertEqual("net 1.50, VAT 0.29, total 1.79", str(invoice(cart)))

    def test_members_get_their_discount_after_the_bulk_discount(self):
        cart = Cart()
        cart.add("paper", 499, quantity=10)
        self.assertEqual("net 42.66, VAT 8.11, total 50.77", str(invoice(cart, member=True)))
