"""What can be computed: a recipe a name, both halves of each."""

from __future__ import annotations

from services.federation.course import Recipe
from services.federation.recipes.logistic import Logistic
from services.federation.recipes.statistics import Statistics
from services.federation.study import Study
from twinward.errors import BadInput

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (Statistics(), Logistic())}


def recipe_of(study: Study) -> Recipe:
    """Raises BadInput: no recipe of that name."""
    found = RECIPES.get(study.recipe)
    if found is None:
        raise BadInput(f"there is no recipe of that name: known are {', '.join(RECIPES)}")
    return found
