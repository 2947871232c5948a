import unittest

from shop.cart import Cart


class CartTest(unittest.TestCase):
    def test_the_amount_is_the_sum_of_the_lines(self):
        cart = Cart()
        cart.add("pencil", 120, quantity=3)
        cart.add("paper", 499)
        self.assertEqual(859, cart.amount)

    def test_a_quantity_below_one_is_refused(self):
        with self.assertRaisesRegex(ValueError, "at least 1"):
            Cart().add("pencil", 120, quantity=0)
