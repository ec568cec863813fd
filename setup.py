"""Which packages there are: the folder `lib` is installed as `modeledit`, with all that is in it.

Everything else stands in pyproject.toml, which could only say this with a list of all sub-packages.
"""

from setuptools import find_packages, setup

setup(
    packages=["modeledit", *(f"modeledit.{name}" for name in find_packages("lib"))],
    package_dir={"modeledit": "lib"},
)
