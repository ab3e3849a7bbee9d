"""Core temperature: follows a set point that fever shifts; cooling takes heat from outside.

    T' = (set + shift - T) / tau - cooling / (c weight)

One compartment, no shivering and no skin; time constant [G]. Cooling is answered: 100 W take an
adult about 1.4 degrees down, not more. Functions take floats or pint quantities.
"""

from __future__ import annotations

from twinward.physiology.compiled import Scalar


def rate(T: Scalar, wanted: Scalar, tau: Scalar, cooling: Scalar, capacity: Scalar) -> Scalar:
    """`wanted` the shifted set point, `capacity` heat per degree of the whole body."""
    return (wanted - T) / tau - cooling / capacity
