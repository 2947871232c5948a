"""What a customer wants to buy."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    """One article, its price in cents and how many of it."""

    article: str
    price: int
    quantity: int = 1

    @property
    def amount(self) -> int:
        return self.price * self.quantity


@dataclass
class Cart:
    """Lines in the order they were added."""

    lines: list[Line] = field(default_factory=list)

    def add(self, article: str, price: int, quantity: int = 1) -> None:
        if quantity < 1:
            raise ValueError(f"quantity of {article!r} must be at least 1, not {quantity}")
        self.lines.append(Line(article, price, quantity))

    @property
    def amount(self) -> int:
        return sum(line.amount for line in self.lines)
