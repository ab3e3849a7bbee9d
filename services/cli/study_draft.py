"""What `twinward study draft` writes: a study to be changed, with a word on every key."""

from __future__ import annotations

HEAD = """\
# A study. Change it, then: twinward study check FILE, and twinward study submit FILE.
# What hospitals approve is the hash of what stands here: a changed study is another study.
title = "{title}"
question = "{question}"
purpose = "research"            # only patients whose consent permits it take part
recipe = "{recipe}"
privacy = "NON-PRIVATE"         # the coordinator sees each hospital's update in clear
rounds = {rounds}                     # at most
deadline_s = 60.0               # of a round; a hospital that has not answered by then is left out of it
minimum_sites = 2               # with fewer the study stops, and can be resumed
minimum_cohort = 30             # patients a hospital needs to take part
seed = 1
# sites = ["st-anne.demo"]      # who is asked; left out: every hospital that joined
"""

COHORT = """
[cohort]                        # every condition stated must hold
age_from = 18
# age_until = 90                # exclusive
# conditions = ["snomed|53741008"]   # any of these
# codes = ["loinc|8480-6"]      # with a record of each of these
# first_month = 202001          # records of these months only
# last_month = 202612
"""

COLUMNS = """
# code: a code of twinward/codes, "condition|snomed|...", "patient|age" (years) or "patient|female" (0 or 1)
# take, of several records: last, first, mean, min, max, count, present
# missing: drop (the patient), mean (of all hospitals), refuse (the hospital takes no part)
[[columns]]
name = "age"
code = "patient|age"
missing = "drop"
low = 18
high = 100

[[columns]]
name = "female"
code = "patient|female"

[[columns]]
name = "systolic"
code = "loinc|8480-6"
unit = "mm[Hg]"
missing = "{missing}"
low = 60                        # values outside count as missing
high = 260

[[columns]]
name = "cholesterol"
code = "loinc|2093-3"
unit = "mg/dL"
missing = "{missing}"
low = 80
high = 700
"""

LOGISTIC = """\
test_fraction = 0.2             # of each hospital's patients, held out to judge the result

[settings]
method = "irls"                 # irls (same as on pooled data), fedavg, fedyogi
ridge = 0.0                     # irls only
local = true                    # each hospital also fits a model of its own, for comparison
"""

OUTCOME = """
[outcome]                       # 0 or 1: a condition, or a number with `above`
name = "disease"
code = "condition|snomed|53741008"
"""

STATISTICS = """
[settings]
histograms = ["age", "systolic", "cholesterol"]   # columns with low and high
bins = 10
quantiles = [0.25, 0.5, 0.75]
"""

RECIPES = ("logistic", "statistics")


def draft(recipe: str) -> str:
    """The file's text, for one of RECIPES."""
    if recipe == "logistic":
        head = HEAD.format(
            title="Heart disease from risk factors", recipe=recipe, rounds=20,
            question="Which risk factors go with coronary disease, and how well do they tell who has it?",
        )  # fmt: skip
        return head + LOGISTIC + COHORT + COLUMNS.format(missing="mean") + OUTCOME
    head = HEAD.format(
        title="Risk factors in numbers", recipe=recipe, rounds=10,
        question="How are age, blood pressure and cholesterol distributed in the hospitals?",
    )  # fmt: skip
    return head + STATISTICS + COHORT + COLUMNS.format(missing="drop")
